"""Each call of the functions' client, and each response that it accepts, is held against botocore's models."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any

import botocore.session
import pytest
from botocore.model import ServiceModel
from botocore.validate import ParamValidator

from slip_sockets.aws.client import PROTOCOLS, Client


@functools.cache
def model_of(service: str) -> ServiceModel:
    return botocore.session.get_session().get_service_model(service)


def violations(service: str, operation: str, parameters: Mapping[str, Any], response: Mapping[str, Any]) -> list[str]:
    """Return what a call and its response have that the model does not allow. Fields that it does not know are some."""
    shapes = model_of(service).operation_model(operation)
    found = []
    for what, value, shape in (
        ("parameters", parameters, shapes.input_shape),
        ("response", response, shapes.output_shape),
    ):
        if shape is None:
            report = str(value) if value else ""
        else:
            report = ParamValidator().validate(value, shape).generate_report()
        if report:
            found.append(f"{operation}, {what}: {report}")
    return found


@pytest.fixture(autouse=True)
def calls_are_as_modelled(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Fail the test if a call is not as botocore's model has it. Yields the operations that were called."""
    call, called, found = Client._call, [], []

    async def held(self: Client, operation: str, **parameters: object) -> Any:
        response = await call(self, operation, **parameters)
        called.append(operation)
        found.extend(violations(self._service, operation, parameters, response))
        protocol, metadata = PROTOCOLS[self._service], model_of(self._service).metadata
        if (protocol.target, protocol.json) != (metadata["targetPrefix"], metadata["jsonVersion"]):
            found.append(f"{operation}: {protocol} is not the model's protocol")
        return response

    monkeypatch.setattr(Client, "_call", held)
    yield called
    assert found == []
