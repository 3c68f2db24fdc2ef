"""What the services that a deployment configures refuse: API Gateway, IAM, Lambda, CloudWatch Logs, Secrets Manager."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from moto.backends import get_backend

from ..api_request import ApiRequest
from .refused import Refused

MIN_INTEGRATION_MS = 50
MAX_INTEGRATION_MS = {"WEBSOCKET": 29_000, "HTTP": 30_000}
"""https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-execution-service-websocket-limits-table.html
https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-quotas.html"""
MAX_VARIABLES_BYTES = 4096
"""https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html"""
MAX_ROLE_POLICIES_CHARACTERS = 10_240
"""All inline policies of a role together, without blanks.
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html"""
RESERVED_VARIABLES = {
    "AWS_ACCESS_KEY",
    "AWS_ACCESS_KEY_ID",
    "AWS_DEFAULT_REGION",
    "AWS_EXECUTION_ENV",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
    "AWS_LAMBDA_FUNCTION_NAME",
    "AWS_LAMBDA_FUNCTION_VERSION",
    "AWS_LAMBDA_INITIALIZATION_TYPE",
    "AWS_LAMBDA_LOG_GROUP_NAME",
    "AWS_LAMBDA_LOG_STREAM_NAME",
    "AWS_LAMBDA_RUNTIME_API",
    "AWS_REGION",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SECRET_KEY",
    "AWS_SESSION_TOKEN",
    "LAMBDA_RUNTIME_DIR",
    "LAMBDA_TASK_ROOT",
    "_HANDLER",
}
"""https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html#configuration-envvars-runtime"""

_FUNCTION = re.compile(r"/2015-03-31/functions(?:/[^/]+/configuration)?/?")
_INTEGRATION = re.compile(r"/v2/apis/(?P<api>[^/]+)/integrations(?:/[^/]+)?")
_SERVICE_URI = re.compile(r"arn:aws[a-z-]*:apigateway:[^:]+:(?P<service>[^:]+):(?:path|action)/.*")
_STAGE = re.compile(r"/v2/apis/[^/]+/stages")
_RESPONSE = re.compile(r"/v2/apis/[^/]+/(?:routes/[^/]+/route|integrations/[^/]+/integration)responses(?:/[^/]+)?")


@dataclass(frozen=True, slots=True)
class Length:
    """How many characters a parameter may have."""

    parameter: str
    most: int


_LENGTHS = {
    "function": (Length("FunctionName", 64), Length("Description", 256)),
    "CreateRole": (Length("RoleName", 64),),
    "PutRolePolicy": (Length("PolicyName", 128),),
    "CreateSecret": (Length("Name", 512), Length("SecretString", 65_536)),
    "PutSecretValue": (Length("SecretString", 65_536),),
}
"""https://docs.aws.amazon.com/lambda/latest/api/API_CreateFunction.html
https://docs.aws.amazon.com/IAM/latest/APIReference/API_CreateRole.html
https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_CreateSecret.html"""


def check_deploying(request: ApiRequest, account_id: str) -> None:
    match request.service:
        case "apigateway":
            _check_api_gateway(request, account_id)
        case "iam":
            _check_iam(request, account_id)
        case "lambda":
            _check_lambda(request)
        case "logs" if request.operation == "CreateLogGroup":
            # https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_CreateLogGroup.html
            _check_pattern("InvalidParameterException", request.parameters, "logGroupName", r"[\.\-_/#A-Za-z0-9]+")
        case "secretsmanager":
            _check_lengths("ValidationException", request.parameters, request.operation)
            name = request.parameters.get("Name", "")
            if request.operation == "CreateSecret" and not re.fullmatch(r"[\w/+=.@-]+", name, re.ASCII):
                raise Refused(
                    "ValidationException",
                    "Invalid name. Must be a valid name containing alphanumeric characters, or any of the following: "
                    "-/_+=.@!",
                )


def _check_integration(request: ApiRequest) -> None:
    """As of a REST API: AWS documents no messages for a WebSocket API. Lambda alone also has a resource policy."""
    given = request.parameters
    if request.method != "POST" or given.get("integrationType") != "AWS":
        return
    uri = _SERVICE_URI.fullmatch(given.get("integrationUri") or "")
    if uri is None:
        raise Refused("BadRequestException", "AWS ARN for integration must contain path or action")
    if uri["service"] != "lambda" and not given.get("credentialsArn"):
        raise Refused("BadRequestException", "Role ARN must be specified for AWS integrations")


def _check_response(request: ApiRequest) -> None:
    """AWS documents no messages.

    https://docs.aws.amazon.com/apigatewayv2/latest/api-reference/apis-apiid-routes-routeid-routeresponses.html
    https://docs.aws.amazon.com/apigatewayv2/latest/api-reference/apis-apiid-integrations-integrationid-integrationresponses.html
    """
    route_key = request.parameters.get("routeResponseKey", "$default")
    if route_key != "$default":
        raise Refused("BadRequestException", f"Invalid route response key {route_key}: only $default is supported")
    key = request.parameters.get("integrationResponseKey", "$default")
    if not re.fullmatch(r"\$default|/.+/", key):
        raise Refused(
            "BadRequestException", f"Invalid integration response key {key}: it must be $default or /expression/"
        )


def _check_api_gateway(request: ApiRequest, account_id: str) -> None:
    if request.method == "POST" and _STAGE.fullmatch(request.path):
        # https://docs.aws.amazon.com/apigatewayv2/latest/api-reference/apis-apiid-stages.html
        name = request.parameters.get("stageName", "")
        if not re.fullmatch(r"\$default|[A-Za-z0-9_-]{1,128}", name):
            raise Refused(
                "BadRequestException",
                "Stage name only allows a-zA-Z0-9-_, and its length must be 1 to 128, or $default",
            )
    if request.method != "GET" and _RESPONSE.fullmatch(request.path):
        _check_response(request)
        return
    match, timeout_ms = _INTEGRATION.fullmatch(request.path), request.parameters.get("timeoutInMillis")
    if match is None:
        return
    _check_integration(request)
    if timeout_ms is None:
        return
    api = get_backend("apigatewayv2")[account_id][request.region].apis.get(match["api"])
    if api is not None and not MIN_INTEGRATION_MS <= timeout_ms <= (most := MAX_INTEGRATION_MS[api.protocol_type]):
        raise Refused("BadRequestException", f"Timeout should be between {MIN_INTEGRATION_MS} ms and {most} ms")


def _check_iam(request: ApiRequest, account_id: str) -> None:
    given = {name: values[0] for name, values in parse_qs(request.body.decode(errors="replace")).items()}
    _check_lengths("ValidationError", given, request.operation)
    if request.operation == "PutRolePolicy":
        roles = get_backend("iam")[account_id]["aws"].roles.values()
        kept = next((role.policies for role in roles if role.name == given.get("RoleName")), {})
        policies: dict[str, str] = {**kept, given.get("PolicyName", ""): given.get("PolicyDocument", "")}
        if sum(len(re.sub(r"\s", "", document)) for document in policies.values()) > MAX_ROLE_POLICIES_CHARACTERS:
            raise Refused(
                "LimitExceeded",
                f"Maximum policy size of {MAX_ROLE_POLICIES_CHARACTERS} bytes exceeded for role {given['RoleName']}",
            )


def _check_lambda(request: ApiRequest) -> None:
    given = request.parameters
    if request.path.startswith("/2015-03-31/event-source-mappings"):
        # https://docs.aws.amazon.com/lambda/latest/api/API_ScalingConfig.html
        _check_range(
            given.get("ScalingConfig") or {}, "MaximumConcurrency", 2, 1000, "scalingConfig.maximumConcurrency"
        )
    if request.method not in ("POST", "PUT") or not _FUNCTION.fullmatch(request.path):
        return
    _check_lengths("ValidationException", given, "function")
    _check_range(given, "MemorySize", 128, 10_240, "memorySize")
    _check_range(given, "Timeout", 1, 900, "timeout")
    variables = (given.get("Environment") or {}).get("Variables") or {}
    why_not = "Lambda was unable to configure your environment variables because the environment variables you have "
    if reserved := sorted(RESERVED_VARIABLES & variables.keys()):
        raise Refused(
            "InvalidParameterValueException",
            f"{why_not}provided contains reserved keys that are currently not supported for modification. Reserved "
            f"keys used in this request: {', '.join(reserved)}",
        )
    measured = json.dumps(variables, separators=(",", ":"), ensure_ascii=False)
    if len(measured.encode()) > MAX_VARIABLES_BYTES:
        raise Refused(
            "InvalidParameterValueException", f"{why_not}provided exceeded the 4KB limit. String measured: {measured}"
        )


def _check_lengths(code: str, given: dict[str, Any], which: str) -> None:
    for length in _LENGTHS.get(which, ()):
        value = given.get(length.parameter) or ""
        if len(value) > length.most and not value.startswith("arn:"):
            raise _violated(code, value, length.parameter, f"length less than or equal to {length.most}")


def _check_range(given: dict[str, Any], parameter: str, least: int, most: int, where: str) -> None:
    value = given.get(parameter)
    if value is not None and value < least:
        raise _violated("ValidationException", value, where, f"value greater than or equal to {least}")
    if value is not None and value > most:
        raise _violated("ValidationException", value, where, f"value less than or equal to {most}")


def _check_pattern(code: str, given: dict[str, Any], parameter: str, pattern: str) -> None:
    value = given.get(parameter) or ""
    if not re.fullmatch(pattern, value):
        constraint = f"Member must satisfy regular expression pattern: {pattern}"
        raise Refused(
            code,
            f"1 validation error detected: Value '{value}' at '{parameter}' failed to satisfy constraint: {constraint}",
        )


def _violated(code: str, value: object, where: str, constraint: str) -> Refused:
    return Refused(
        code,
        f"1 validation error detected: Value '{value}' at '{where[0].lower()}{where[1:]}' failed to satisfy "
        f"constraint: Member must have {constraint}",
    )
