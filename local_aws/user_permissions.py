"""What a user's calls need, who deploys by Terraform: actions and resources of the APIs that create a stack.

Functions' own calls are in `permissions`. https://docs.aws.amazon.com/service-authorization/latest/reference/
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .api_request import ApiRequest
from .modelled import read_request

Needed = tuple[str, str, Mapping[str, str]]
"""An action, a resource, and what the conditions of a policy may ask for."""

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
    modelled = read_request(request)
    operation, given = (modelled.operation.name, modelled.parameters) if modelled else (request.operation, {})
    for action, resource, context in _permissions(request, operation, given, account_id):
        yield action, resource, context
        if action in _TAGGING and (given.get("Tags") or given.get("tags")):
            yield _TAGGING[action], resource, {}


def _permissions(request: ApiRequest, operation: str, given: Mapping[str, Any], account_id: str) -> Iterator[Needed]:
    service, region = request.service or "", request.region
    arn = f"arn:aws:{service}:{region}:{account_id}"
    match service:
        case "apigateway":
            yield f"apigateway:{request.method}", f"arn:aws:apigateway:{region}::{request.path.removeprefix('/v2')}", {}
            if role := given.get("CredentialsArn"):
                yield "iam:PassRole", role, {"iam:PassedToService": "apigateway.amazonaws.com"}
        case "lambda":
            yield from _of_lambda(operation, given, arn)
        case "iam":
            kind, name = next(
                ((key, given[f"{key}Name"]) for key in ("Role", "User") if f"{key}Name" in given), ("", "")
            )
            yield f"iam:{operation}", f"arn:aws:iam::{account_id}:{kind.lower()}/{name}" if kind else "*", {}
        case "dynamodb":
            name = given.get("TableName")
            yield f"dynamodb:{operation}", f"{arn}:table/{name}" if name else given.get("ResourceArn", "*"), {}
        case "sqs":
            name = given.get("QueueName") or given.get("QueueUrl", "*").rpartition("/")[2]
            yield f"sqs:{operation}", f"{arn}:{name}", {}
        case "secretsmanager":
            name = given.get("SecretId") or given.get("Name")
            is_arn = name is None or name.startswith("arn:")
            yield f"secretsmanager:{operation}", (name or "*") if is_arn else f"{arn}:secret:{name}-AbCdEf", {}
        case "logs":
            group = given.get("logGroupName")
            yield (
                f"logs:{operation}",
                f"{arn}:log-group:{group}" if group else given.get("resourceArn", "*"),
                {},
            )
        case "sns":
            named = given.get("TopicArn") or given.get("ResourceArn") or given.get("SubscriptionArn")
            yield f"sns:{operation}", named or f"{arn}:{given.get('Name', '*')}", {}
        case "monitoring":
            yield f"cloudwatch:{operation}", _of_cloudwatch(given, region, account_id), {}
        case "sts" if operation == "GetCallerIdentity":
            pass  # no policy can take it away
        case _:
            yield f"{service}:{operation}", "*", {}


def _of_lambda(operation: str, given: Mapping[str, Any], arn: str) -> Iterator[Needed]:
    resource = "*"
    if "UUID" in given:
        resource = f"{arn}:event-source-mapping:{given['UUID']}"
    elif "Resource" in given:  # of tags
        resource = given["Resource"]
    elif "FunctionName" in given and "EventSourceMapping" not in operation:
        name = given["FunctionName"]
        resource = name if name.startswith("arn:") else f"{arn}:function:{name}"
    yield "lambda:InvokeFunction" if operation == "Invoke" else f"lambda:{operation}", resource, {}
    if role := given.get("Role"):
        yield "iam:PassRole", role, {"iam:PassedToService": "lambda.amazonaws.com"}
    if given.get("Tags") and operation.startswith("Create"):
        # Tags at creation need the permission of tagging. A new mapping has no ARN yet.
        yield "lambda:TagResource", resource if resource != "*" else f"{arn}:event-source-mapping:*", {}


def _of_cloudwatch(given: Mapping[str, Any], region: str, account_id: str) -> str:
    if "ResourceARN" in given:
        return str(given["ResourceARN"])
    for dashboard in (*given.get("DashboardNames", ()), given.get("DashboardName")):
        if dashboard:
            return f"arn:aws:cloudwatch::{account_id}:dashboard/{dashboard}"
    for alarm in (*given.get("AlarmNames", ()), given.get("AlarmName")):
        if alarm:
            return f"arn:aws:cloudwatch:{region}:{account_id}:alarm:{alarm}"
    return "*"
