"""Calls against botocore's models, which have each operation's parameters and response."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from typing import Any

from botocore.awsrequest import HeadersDict
from botocore.model import Shape, StructureShape
from botocore.parsers import ResponseParserError, create_parser
from botocore.validate import ParamValidator

from .api_request import ApiRequest, ApiResponse, error_response
from .modelled import Modelled

log = logging.getLogger("local_aws.models")

Violation = tuple[str, str, str]
"""A service, an operation, and what is not as the model has it."""

_CODES = {
    "missing required field": "ValidationException",
    "invalid range": "ValidationException",
    "invalid length": "ValidationException",
    "invalid type": "SerializationException",
}
"""AWS's error codes. AWS ignores a field that it does not know; it is counted, because its name may be misspelt."""


def violations(value: Mapping[str, Any], shape: Shape | None) -> str:
    """Return what a value has that its shape does not allow, and which required fields it lacks; "" if all is right.

    Fields that the shape does not know are violations.
    """
    if shape is None:
        return str(value) if value else ""
    return str(ParamValidator().validate(value, shape).generate_report())


class ModelChecks:
    """Checks requests and responses. `requests` and `responses` count what was found in them, `unread` the requests of
    which no model says what they are, by service and operation."""

    def __init__(self) -> None:
        self.requests: Counter[Violation] = Counter()
        self.responses: Counter[Violation] = Counter()
        self.unread: Counter[tuple[str, str]] = Counter()

    def check(self, request: ApiRequest, modelled: Modelled | None) -> ApiResponse | None:
        """Count what is not as modelled. Return AWS's error where AWS would not take a request of a JSON protocol."""
        if modelled is None:
            self.unread[request.service or "", request.operation] += 1
            return None
        report = _report(modelled.parameters, modelled.operation.input_shape)
        found = report._errors
        _count(self.requests, modelled, found, logging.WARNING)
        codes = [_CODES[kind] for kind, _, _ in found if kind in _CODES]
        return (
            error_response(request, 400, codes[0], report.generate_report()) if codes and request.is_json_rpc else None
        )

    def check_response(self, modelled: Modelled | None, response: ApiResponse) -> None:
        """Count what is not as modelled. Fields that the model does not know are not looked for."""
        if modelled is None or modelled.operation.output_shape is None or not response.ok:
            return
        shape = modelled.operation.output_shape
        raw = {
            "status_code": response.status,
            "headers": HeadersDict(response.headers),
            "body": response.body,
            "context": {"operation_name": modelled.operation.name},
        }
        try:
            parsed = create_parser(modelled.protocol).parse(raw, shape)
        except ResponseParserError as error:
            unreadable = [("not readable", "", {"unknown_param": type(error).__name__})]
            _count(self.responses, modelled, unreadable, logging.DEBUG)
            return
        parsed.pop("ResponseMetadata", None)
        _count(self.responses, modelled, _report(parsed, shape)._errors, logging.DEBUG)


_NOTHING = StructureShape("Nothing", {"type": "structure", "members": {}})


def _report(value: Mapping[str, Any], shape: Shape | None) -> Any:
    return ParamValidator().validate(value, shape or _NOTHING)


def _count(
    counter: Counter[Violation], modelled: Modelled, found: list[tuple[str, str, dict[str, Any]]], level: int
) -> None:
    """Count and log what was found. A user of the local AWS can mend requests, and not moto's responses."""
    service, operation = modelled.operation.service_model.service_name, modelled.operation.name
    for kind, where, details in found:
        # Not the value, which may be a secret.
        field = details.get("unknown_param") or details.get("required_name") or ""
        violation = f"{kind}: {where}.{field}".rstrip(".")
        counter[service, operation, violation] += 1
        log.log(level, "%s, %s is not as modelled: %s", service, operation, violation)
