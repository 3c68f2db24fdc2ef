"""Requests to AWS APIs, as HTTP carries them, and responses to them."""

from __future__ import annotations

import functools
import json
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

_SCOPE = re.compile(
    r"(?:^AWS4-HMAC-SHA256 Credential=|[?&]X-Amz-Credential=)"
    r"(?P<key>[^/,&]+)/\d{8}/(?P<region>[^/,&]+)/(?P<service>[^/,&]+)/aws4_request"
)
_INVOCATION = re.compile(r"/2015-03-31/functions/(?P<function>[^/]+)/invocations")
DEFAULT_REGION = "us-east-1"


@dataclass(frozen=True)
class ApiRequest:
    """`target` is the request target as received; `headers` have lower-case names."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes = b""

    @functools.cached_property
    def _scope(self) -> Mapping[str, str]:
        match = _SCOPE.search(self.headers.get("authorization") or unquote(self.target))
        return match.groupdict() if match else {}

    @property
    def service(self) -> str | None:
        """The service that the request is signed for, such as `sqs`; None if it is not signed."""
        return self._scope.get("service")

    @property
    def region(self) -> str:
        return self._scope.get("region", DEFAULT_REGION)

    @property
    def access_key(self) -> str | None:
        return self._scope.get("key")

    @property
    def path(self) -> str:
        return unquote(urlsplit(self.target).path)

    @property
    def is_json_rpc(self) -> bool:
        """Whether a header names the operation; otherwise a form does, or method and path."""
        return "x-amz-target" in self.headers

    @functools.cached_property
    def operation(self) -> str:
        """Such as `SendMessage`; of a REST API, method and path: `POST /2015-03-31/functions`."""
        if self.is_json_rpc:
            return self.headers["x-amz-target"].rpartition(".")[2]
        return self._action or f"{self.method} {self.path}"

    @property
    def is_query(self) -> bool:
        """Whether a form names the operation."""
        return not self.is_json_rpc and self._action is not None

    @functools.cached_property
    def _action(self) -> str | None:
        if not self.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
            return None
        action = parse_qs(self.body.decode(errors="replace")).get("Action")
        return action[0] if action else None

    @functools.cached_property
    def parameters(self) -> dict[str, Any]:
        """The body's JSON object; empty where the body is not one."""
        try:
            body = json.loads(self.body)
        except ValueError:
            return {}
        return body if isinstance(body, dict) else {}


@dataclass(frozen=True, slots=True)
class ApiResponse:
    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error of AWS: `code` is its name, such as `ValidationException`."""

    status: int
    code: str
    message: str

    def response(self, request: ApiRequest) -> ApiResponse:
        return error_response(request, self.status, self.code, self.message)


def invoked_function(request: ApiRequest) -> str | None:
    """Return the name or ARN in a request of Lambda's Invoke; None if it is another request."""
    match = _INVOCATION.fullmatch(request.path)
    return match["function"] if match and request.method == "POST" else None


def json_response(status: int, body: object, **headers: str) -> ApiResponse:
    """Return a JSON response. A header's name is written with `_` for `-`."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return ApiResponse(status, json.dumps(body).encode(), {"Content-Type": "application/json"} | named)


def error_response(request: ApiRequest, status: int, code: str, message: str) -> ApiResponse:
    """Return an error in the protocol of `request`, where boto3 and Terraform find code and message."""
    if request.is_json_rpc:
        headers = {"x_amzn_query_error": f"{code.removesuffix('Exception')};Sender"} if request.service == "sqs" else {}
        return json_response(status, {"__type": f"com.amazon.coral.service#{code}", "message": message}, **headers)
    if request.service == "s3":
        xml = f"<Error><Code>{code}</Code><Message>{escape(message)}</Message></Error>"
        return ApiResponse(status, xml.encode(), {"Content-Type": "application/xml"})
    if not request.is_query:
        return json_response(status, {"message": message}, x_amzn_ErrorType=code)
    error = f"<Code>{escape(code.removesuffix('Exception'))}</Code><Message>{escape(message)}</Message>"
    xml = (
        f"<ErrorResponse><Error><Type>Sender</Type>{error}</Error><RequestId>{uuid.uuid4()}</RequestId></ErrorResponse>"
    )
    return ApiResponse(status, xml.encode(), {"Content-Type": "text/xml"})
