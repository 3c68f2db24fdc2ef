"""Each call of the functions' client, and each response that it accepts, is held against botocore's models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from local_aws.modelled import model_of
from local_aws.service_models import violations as value_violations
from slip_sockets.aws.client import PROTOCOLS, Client


def violations(service: str, operation: str, parameters: Mapping[str, Any], response: Mapping[str, Any]) -> list[str]:
    """Return what a call and its response have that the model does not allow. Fields that it does not know are some."""
    shapes = model_of(service).operation_model(operation)
    reports = {
        "parameters": value_violations(parameters, shapes.input_shape),
        "response": value_violations(response, shapes.output_shape),
    }
    return [f"{operation}, {what}: {report}" for what, report in reports.items() if report]


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
