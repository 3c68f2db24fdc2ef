"""What a user's calls need, who deploys by Terraform: actions and resources of the APIs that create a stack.

Functions' own calls are in `permissions`. https://docs.aws.amazon.com/service-authorization/latest/reference/
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qs, unquote

import botocore.session

from .api_request import ApiRequest

Needed = tuple[str, str, Mapping[str, str]]
"""An action, a resource, and what the conditions of a policy may ask for."""

_OF_A_FUNCTION = re.compile(r"/functions/(?P<name>[^/]+)")
_OF_A_MAPPING = re.compile(r"/event-source-mappings/(?P<uuid>[^/]+)")
_TAGS = re.compile(r"/tags/(?P<arn>.+)")


_TAGGING = {
    "dynamodb:CreateTable": "dynamodb:TagResource",
    "iam:CreateRole": "iam:TagRole",
    "logs:CreateLogGroup": "logs:TagResource",
    "cloudwatch:PutMetricAlarm": "cloudwatch:TagResource",
    "secretsmanager:CreateSecret": "secretsmanager:TagResource",
    "sns:CreateTopic": "sns:TagResource",
    "sqs:CreateQueue": "sqs:TagQueue",
}
"""Something that is created with tags needs the permission of tagging it, too."""


def user_permissions(request: ApiRequest, account_id: str) -> Iterator[Needed]:
    """Yield what a call needs. A service that no stack has yields `*` as its resource."""
    for action, resource, context in _permissions(request, account_id):
        yield action, resource, context
        if action in _TAGGING and any(name.lower().startswith("tag") for name in request.parameters | _form(request)):
            yield _TAGGING[action], resource, {}


def _permissions(request: ApiRequest, account_id: str) -> Iterator[Needed]:
    service, region = request.service or "", request.region
    arn = f"arn:aws:{service}:{region}:{account_id}"
    given = request.parameters | _form(request)
    match service:
        case "apigateway":
            yield f"apigateway:{request.method}", f"arn:aws:apigateway:{region}::{request.path.removeprefix('/v2')}", {}
        case "lambda":
            yield from _of_lambda(request, arn, account_id)
        case "iam":
            kind, name = next(
                ((key, given[f"{key}Name"]) for key in ("Role", "User") if f"{key}Name" in given), ("", "")
            )
            yield f"iam:{request.operation}", f"arn:aws:iam::{account_id}:{kind.lower()}/{name}" if kind else "*", {}
        case "dynamodb":
            name = given.get("TableName")
            yield f"dynamodb:{request.operation}", f"{arn}:table/{name}" if name else given.get("ResourceArn", "*"), {}
        case "sqs":
            name = given.get("QueueName") or given.get("QueueUrl", "*").rpartition("/")[2]
            yield f"sqs:{request.operation}", f"{arn}:{name}", {}
        case "secretsmanager":
            name = given.get("SecretId") or given.get("Name")
            is_arn = name is None or name.startswith("arn:")
            yield f"secretsmanager:{request.operation}", (name or "*") if is_arn else f"{arn}:secret:{name}-AbCdEf", {}
        case "logs":
            group = given.get("logGroupName")
            yield (
                f"logs:{request.operation}",
                f"{arn}:log-group:{group}" if group else given.get("resourceArn", "*"),
                {},
            )
        case "sns":
            named = given.get("TopicArn") or given.get("ResourceArn") or given.get("SubscriptionArn")
            yield f"sns:{request.operation}", named or f"{arn}:{given.get('Name', '*')}", {}
        case "monitoring":
            yield f"cloudwatch:{request.operation}", _of_cloudwatch(request.operation, given, region, account_id), {}
        case "sts" if request.operation == "GetCallerIdentity":
            pass  # no policy can take it away
        case _:
            yield f"{service}:{request.operation}", "*", {}


def _of_lambda(request: ApiRequest, arn: str, account_id: str) -> Iterator[Needed]:
    operation, path = lambda_operation(request.method, request.path), request.path
    resource = "*"
    if found := _OF_A_FUNCTION.search(path):
        name = unquote(found["name"])
        resource = name if name.startswith("arn:") else f"{arn}:function:{name}"
    elif found := _OF_A_MAPPING.search(path):
        resource = f"{arn}:event-source-mapping:{found['uuid']}"
    elif found := _TAGS.search(path):
        resource = unquote(found["arn"])
    elif "FunctionName" in request.parameters and operation == "CreateFunction":
        resource = f"{arn}:function:{request.parameters['FunctionName']}"
    yield "lambda:InvokeFunction" if operation == "Invoke" else f"lambda:{operation}", resource, {}
    if role := request.parameters.get("Role"):
        yield "iam:PassRole", role, {"iam:PassedToService": "lambda.amazonaws.com"}
    if request.parameters.get("Tags") and operation.startswith("Create"):
        # Tags at creation need the permission of tagging. A new mapping has no ARN yet.
        mapping = f"{arn}:event-source-mapping:*"
        yield "lambda:TagResource", resource if resource != "*" else mapping, {}


def _of_cloudwatch(operation: str, given: Mapping[str, Any], region: str, account_id: str) -> str:
    names = [*given.get("AlarmNames", ()), given.get("AlarmName"), given.get("AlarmNames.member.1")]
    name = next(filter(None, names), None)
    if "ResourceARN" in given:
        return str(given["ResourceARN"])
    dashboards = [*given.get("DashboardNames", ()), given.get("DashboardName"), given.get("DashboardNames.member.1")]
    if dashboard := next(filter(None, dashboards), None):
        return f"arn:aws:cloudwatch::{account_id}:dashboard/{dashboard}"
    return f"arn:aws:cloudwatch:{region}:{account_id}:alarm:{name}" if name else "*"


def _form(request: ApiRequest) -> dict[str, str]:
    """Return the parameters of a form, as the older protocols send them."""
    if not request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        return {}
    return {name: values[0] for name, values in parse_qs(request.body.decode(errors="replace")).items()}


def lambda_operation(method: str, path: str) -> str:
    """Return the operation of Lambda's REST API, by botocore's model; method and path if it knows none."""
    fitting = [name for name, verb, pattern in _lambda_paths() if verb == method and pattern.fullmatch(path)]
    return fitting[0] if fitting else f"{method} {path}"


@functools.cache
def _lambda_paths() -> list[tuple[str, str, re.Pattern[str]]]:
    model = botocore.session.Session().get_service_model("lambda")
    paths = []
    for name in model.operation_names:
        http = model.operation_model(name).http
        parts = re.split(r"\{[^}]+\}", http["requestUri"].split("?")[0].rstrip("/"))
        paths.append((name, http["method"], re.compile("[^/]+".join(map(re.escape, parts)) + "/?")))
    # `ListTags` has an ARN in its path, slashes included; the longest template is the most particular one.
    return sorted(paths, key=lambda path: -len(path[2].pattern))
