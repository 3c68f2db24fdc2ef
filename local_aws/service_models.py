"""Calls against botocore's models, which have each operation's parameters and response."""

from __future__ import annotations

import functools
import logging
from collections import Counter
from collections.abc import Mapping
from typing import Any

import botocore.session
from botocore.exceptions import UnknownServiceError
from botocore.model import ServiceModel, Shape
from botocore.validate import ParamValidator

from .api_request import ApiRequest, ApiResponse, error_response

_log = logging.getLogger(__name__)
_CODES = {
    "missing required field": "ValidationException",
    "invalid range": "ValidationException",
    "invalid length": "ValidationException",
    "invalid type": "SerializationException",
}
"""AWS's error codes. AWS ignores a field that it does not know; it is counted, because its name may be misspelt."""


@functools.cache
def model_of(service: str) -> ServiceModel:
    return botocore.session.get_session().get_service_model(service)


def violations(value: Mapping[str, Any], shape: Shape | None) -> str:
    """Return what a value has that its shape does not allow, and which required fields it lacks; "" if all is right.

    Fields that the shape does not know are violations.
    """
    if shape is None:
        return str(value) if value else ""
    return str(ParamValidator().validate(value, shape).generate_report())


class RequestChecks:
    """Checks the requests of JSON protocols. `violations` counts what was found, by service, operation and text."""

    def __init__(self) -> None:
        self.violations: Counter[tuple[str, str, str]] = Counter()

    def check(self, request: ApiRequest) -> ApiResponse | None:
        """Count what is not as modelled. Return AWS's error where AWS would not take it."""
        if not request.is_json_rpc or request.service is None:
            return None
        try:
            model = model_of(request.service)
        except UnknownServiceError:
            return None  # it is signed for another name than its model's
        if request.operation not in model.operation_names:
            return None  # moto refuses it
        shape = model.operation_model(request.operation).input_shape
        if shape is None:
            return None
        report = ParamValidator().validate(_without_nulls(request.parameters), shape)
        found: list[tuple[str, str, dict[str, Any]]] = report._errors
        for kind, where, details in found:
            # Not the value, which may be a secret.
            field = details.get("unknown_param") or details.get("required_name") or ""
            violation = f"{kind}: {where}.{field}".rstrip(".")
            self.violations[request.service, request.operation, violation] += 1
            _log.warning("%s, %s is not as modelled: %s", request.service, request.operation, violation)
        codes = [_CODES[kind] for kind, _, _ in found if kind in _CODES]
        return error_response(request, 400, codes[0], report.generate_report()) if codes else None


def _without_nulls(value: Any) -> Any:
    """AWS reads a null as a field that is not there."""
    if isinstance(value, dict):
        return {name: _without_nulls(field) for name, field in value.items() if field is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value
