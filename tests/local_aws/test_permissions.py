"""A call that a function's role does not allow is denied, in AWS's words; an allowed one is done."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from local_aws import AccessDecision
from local_aws.api_request import ApiRequest
from local_aws.permissions import Permission, matches, needed_permissions

from .cloud import Cloud, Deployed, allow

CALLER = """
import boto3
from botocore.exceptions import ClientError

def handler(event, context):
    service, operation, parameters, options = event
    client = boto3.client(service, **options)
    try:
        response = getattr(client, operation)(**parameters)
    except ClientError as error:
        return {"denied": error.response["Error"]["Code"], "message": error.response["Error"]["Message"]}
    response.pop("ResponseMetadata")
    return {"done": str(response)}
"""


@pytest.fixture(scope="module")
def caller(cloud: Cloud) -> Deployed:
    """A function that calls AWS. Each test gives it a policy."""
    return cloud.function(CALLER)


def call(caller: Deployed, service: str, operation: str, *, at: str = "", **parameters: Any) -> dict[str, str]:
    response: dict[str, str] = caller.call([service, operation, parameters, {"endpoint_url": at} if at else {}])
    return response


def assert_denied(caller: Deployed, response: dict[str, str], action: str, resource: str) -> None:
    principal = f"arn:aws:sts::{caller.cloud.account_id}:assumed-role/{caller.role}/{caller.name}"
    assert response == {
        "denied": response.get("denied", "nothing"),
        "message": f"User: {principal} is not authorized to perform: {action} on resource: {resource} "
        f"because no identity-based policy allows the {action} action",
    }
    assert response["denied"] in ("AccessDeniedException", "AccessDenied")
    assert caller.cloud.aws.access_decisions()[AccessDecision(principal, action, resource, allowed=False)] > 0


@pytest.fixture(scope="module")
def table(cloud: Cloud) -> tuple[str, str]:
    return cloud.table()


@pytest.fixture(scope="module")
def queue(cloud: Cloud) -> tuple[str, str]:
    return cloud.queue()


KEY = {"id": {"S": "1"}}
UPDATE = {"Key": KEY, "UpdateExpression": "SET a = :a", "ExpressionAttributeValues": {":a": {"S": "x"}}}
QUERY: dict[str, Any] = {"KeyConditionExpression": "id = :id", "ExpressionAttributeValues": {":id": {"S": "1"}}}
DYNAMODB_CALLS: list[tuple[str, str, dict[str, Any]]] = [
    ("PutItem", "put_item", {"Item": KEY}),
    ("GetItem", "get_item", {"Key": KEY}),
    ("UpdateItem", "update_item", UPDATE),
    ("DeleteItem", "delete_item", {"Key": KEY}),
    ("Query", "query", QUERY),
]


@pytest.mark.parametrize(("action", "operation", "parameters"), DYNAMODB_CALLS)
def test_dynamodb(
    caller: Deployed, table: tuple[str, str], action: str, operation: str, parameters: dict[str, Any]
) -> None:
    name, arn = table
    others = [f"dynamodb:{other}" for other, _, _ in DYNAMODB_CALLS if other != action]
    caller.allow(allow(others, arn), allow(f"dynamodb:{action}", f"{arn}-other"))
    response = call(caller, "dynamodb", operation, TableName=name, **parameters)
    assert_denied(caller, response, f"dynamodb:{action}", arn)
    caller.allow(allow(f"dynamodb:{action}", arn))
    assert "done" in call(caller, "dynamodb", operation, TableName=name, **parameters)


def test_query_of_an_index_needs_the_index(caller: Deployed, table: tuple[str, str]) -> None:
    name, arn = table
    query: dict[str, Any] = {
        "TableName": name,
        "IndexName": "by-kind",
        "KeyConditionExpression": "kind = :kind",
        "ExpressionAttributeValues": {":kind": {"S": "x"}},
    }
    caller.allow(allow("dynamodb:Query", arn))
    assert_denied(caller, call(caller, "dynamodb", "query", **query), "dynamodb:Query", f"{arn}/index/by-kind")
    caller.allow(allow("dynamodb:Query", f"{arn}/index/*"))
    assert "done" in call(caller, "dynamodb", "query", **query)
    assert_denied(caller, call(caller, "dynamodb", "query", TableName=name, **QUERY), "dynamodb:Query", arn)


def test_batch_write_is_an_action_of_its_own(caller: Deployed, table: tuple[str, str]) -> None:
    name, arn = table
    items = {name: [{"PutRequest": {"Item": KEY}}]}
    caller.allow(allow(["dynamodb:PutItem", "dynamodb:DeleteItem"], arn))
    response = call(caller, "dynamodb", "batch_write_item", RequestItems=items)
    assert_denied(caller, response, "dynamodb:BatchWriteItem", arn)
    caller.allow(allow("dynamodb:BatchWriteItem", arn))
    assert "done" in call(caller, "dynamodb", "batch_write_item", RequestItems=items)


@pytest.mark.parametrize(
    ("action", "element"),
    [
        (
            "ConditionCheckItem",
            {"ConditionCheck": {"Key": KEY, "ConditionExpression": "attribute_not_exists(nothing)"}},
        ),
        ("PutItem", {"Put": {"Item": KEY}}),
        ("UpdateItem", {"Update": UPDATE}),
        ("DeleteItem", {"Delete": {"Key": KEY}}),
    ],
)
def test_transaction_needs_the_permissions_of_its_elements(
    caller: Deployed, table: tuple[str, str], action: str, element: dict[str, Any]
) -> None:
    name, arn = table
    items = [{kind: {"TableName": name, **parameters} for kind, parameters in element.items()}]
    items.append({"Put": {"TableName": name, "Item": {"id": {"S": "another"}}}})
    allowed = {"ConditionCheckItem", "PutItem", "UpdateItem", "DeleteItem", "TransactWriteItems"} - {action}
    caller.allow(allow([f"dynamodb:{name}" for name in allowed], arn))
    response = call(caller, "dynamodb", "transact_write_items", TransactItems=items)
    assert_denied(caller, response, f"dynamodb:{action}", arn)
    caller.allow(allow([f"dynamodb:{action}", "dynamodb:PutItem"], arn))
    assert "done" in call(caller, "dynamodb", "transact_write_items", TransactItems=items)


@pytest.mark.parametrize(
    ("action", "operation", "parameters"),
    [
        ("SendMessage", "send_message", {"MessageBody": "x"}),
        ("SendMessage", "send_message_batch", {"Entries": [{"Id": "1", "MessageBody": "x"}]}),
        ("ReceiveMessage", "receive_message", {}),
        ("DeleteMessage", "delete_message_batch", {"Entries": [{"Id": "1", "ReceiptHandle": "x"}]}),
        (
            "ChangeMessageVisibility",
            "change_message_visibility_batch",
            {"Entries": [{"Id": "1", "ReceiptHandle": "x", "VisibilityTimeout": 1}]},
        ),
        ("GetQueueAttributes", "get_queue_attributes", {"AttributeNames": ["All"]}),
    ],
)
def test_batch_of_sqs_needs_the_permission_of_its_single_action(
    caller: Deployed, queue: tuple[str, str], action: str, operation: str, parameters: dict[str, Any]
) -> None:
    url, arn = queue
    caller.allow(allow(f"sqs:{action}Batch", arn), allow(f"sqs:{action}", f"{arn}-other"))
    response = call(caller, "sqs", operation, QueueUrl=url, **parameters)
    assert_denied(caller, response, f"sqs:{action}", arn)
    caller.allow(allow(f"sqs:{action}", arn))
    assert "done" in call(caller, "sqs", operation, QueueUrl=url, **parameters)


def test_secrets_manager(cloud: Cloud, caller: Deployed) -> None:
    arn = cloud.client("secretsmanager").create_secret(Name="stack/secret", SecretString="hush")["ARN"]
    caller.allow(allow("secretsmanager:GetSecretValue", f"{arn}-another"))
    response = call(caller, "secretsmanager", "get_secret_value", SecretId=arn)
    assert_denied(caller, response, "secretsmanager:GetSecretValue", arn)
    caller.allow(allow("secretsmanager:GetSecretValue", arn))
    assert "hush" in call(caller, "secretsmanager", "get_secret_value", SecretId=arn)["done"]
    response = call(caller, "secretsmanager", "describe_secret", SecretId=arn)
    assert_denied(caller, response, "secretsmanager:DescribeSecret", arn)


def test_ssm(cloud: Cloud, caller: Deployed) -> None:
    cloud.client("ssm").put_parameter(Name="/stack/secret", Value="hush", Type="SecureString")
    arn = f"arn:aws:ssm:us-east-1:{cloud.account_id}:parameter/stack"
    caller.allow(allow("ssm:GetParameter", f"{arn}/another"))
    response = call(caller, "ssm", "get_parameter", Name="/stack/secret", WithDecryption=True)
    assert_denied(caller, response, "ssm:GetParameter", f"{arn}/secret")
    caller.allow(allow("ssm:GetParameter", f"{arn}/secret"))
    assert "hush" in call(caller, "ssm", "get_parameter", Name="/stack/secret", WithDecryption=True)["done"]
    response = call(caller, "ssm", "get_parameters", Names=["/stack/secret"])
    assert_denied(caller, response, "ssm:GetParameters", f"{arn}/secret")


def test_management_api(cloud: Cloud, caller: Deployed) -> None:
    api = cloud.api("WEBSOCKET", RouteSelectionExpression="$request.body.action")
    api.stage("live")
    at = f"{cloud.url}/{api.api_id}/live"
    gone = "A" * 15 + "="
    caller.allow(allow("execute-api:ManageConnections", f"{api.arn}/live/POST/@connections/*"))
    for operation, method in (("delete_connection", "DELETE"), ("get_connection", "GET")):
        response = call(caller, "apigatewaymanagementapi", operation, at=at, ConnectionId=gone)
        resource = f"{api.arn}/live/{method}/@connections/{gone}"
        assert_denied(caller, response, "execute-api:ManageConnections", resource)
    response = call(caller, "apigatewaymanagementapi", "post_to_connection", at=at, ConnectionId=gone, Data="x")
    assert response["denied"] == "GoneException"


def test_lambda_and_sts(cloud: Cloud, caller: Deployed) -> None:
    other = cloud.function("def handler(event, context): return 'invoked'")
    caller.allow()
    response = call(caller, "lambda", "invoke", FunctionName=other.name)
    assert_denied(caller, response, "lambda:InvokeFunction", other.arn)
    caller.allow(allow("lambda:InvokeFunction", other.arn))
    assert "done" in call(caller, "lambda", "invoke", FunctionName=other.name)
    assert "done" in call(caller, "sts", "get_caller_identity")
    response = call(caller, "sts", "get_session_token")
    assert_denied(caller, response, "sts:GetSessionToken", "*")


def test_any_other_action_needs_all_resources(cloud: Cloud, caller: Deployed) -> None:
    caller.allow(allow("iam:*", f"arn:aws:iam::{cloud.account_id}:role/*"))
    assert_denied(caller, call(caller, "iam", "list_roles"), "iam:ListRoles", "*")
    caller.allow(allow("*", "*"))
    assert "done" in call(caller, "iam", "list_roles")


def test_explicit_deny_wins(caller: Deployed, queue: tuple[str, str]) -> None:
    url, arn = queue
    caller.allow(allow("sqs:*", "*"), {"Effect": "Deny", "Action": "sqs:SendMessage", "Resource": "*"})
    response = call(caller, "sqs", "send_message", QueueUrl=url, MessageBody="x")
    assert response["message"].endswith(f"on resource: {arn} with an explicit deny in an identity-based policy")


def test_attached_policies_count(cloud: Cloud, caller: Deployed, queue: tuple[str, str]) -> None:
    url, arn = queue
    caller.allow()
    document = json.dumps({"Version": "2012-10-17", "Statement": allow("sqs:SendMessage", arn)})
    policy = cloud.client("iam").create_policy(PolicyName="managed", PolicyDocument=document)["Policy"]["Arn"]
    cloud.client("iam").attach_role_policy(RoleName=caller.role, PolicyArn=policy)
    assert "done" in call(caller, "sqs", "send_message", QueueUrl=url, MessageBody="x")
    cloud.client("iam").detach_role_policy(RoleName=caller.role, PolicyArn=policy)
    response = call(caller, "sqs", "send_message", QueueUrl=url, MessageBody="x")
    assert_denied(caller, response, "sqs:SendMessage", arn)


def test_allowed_calls_are_recorded(cloud: Cloud, caller: Deployed, queue: tuple[str, str]) -> None:
    url, arn = queue
    caller.allow(allow("sqs:SendMessage", "*"))
    principal = f"arn:aws:sts::{cloud.account_id}:assumed-role/{caller.role}/{caller.name}"
    decision = AccessDecision(principal, "sqs:SendMessage", arn, allowed=True)
    before = cloud.aws.access_decisions()[decision]
    call(caller, "sqs", "send_message", QueueUrl=url, MessageBody="x")
    assert cloud.aws.access_decisions()[decision] == before + 1


@pytest.mark.parametrize(
    ("pattern", "text", "fits"),
    [
        ("*", "anything:at/all", True),
        ("dynamodb:Get*", "dynamodb:GetItem", True),
        ("dynamodb:Get*", "dynamodb:PutItem", False),
        ("arn:aws:sqs:?:1:q", "arn:aws:sqs:x:1:q", True),
        ("arn:aws:sqs:?:1:q", "arn:aws:sqs:xy:1:q", False),
        ("a.c", "abc", False),
        ("[a]", "a", False),
        ("abc", "abcd", False),
    ],
)
def test_patterns(pattern: str, text: str, fits: bool) -> None:
    assert matches(pattern, text) is fits


def needed(service: str, operation: str, **parameters: object) -> Iterator[Permission]:
    headers = {
        "authorization": f"AWS4-HMAC-SHA256 Credential=k/20260101/eu-west-1/{service}/aws4_request, SignedHeaders=x",
        "x-amz-target": f"{service}.{operation}",
    }
    return needed_permissions(ApiRequest("POST", "/", headers, json.dumps(parameters).encode()), "123456789012")


def test_table_may_be_named_by_its_arn() -> None:
    arn = "arn:aws:dynamodb:eu-west-1:123456789012:table/t"
    assert list(needed("dynamodb", "GetItem", TableName=arn)) == [Permission("dynamodb:GetItem", arn)]


def test_logs_need_a_permission_for_the_stream() -> None:
    (permission,) = needed("logs", "PutLogEvents", logGroupName="/aws/lambda/f", logStreamName="s")
    resource = "arn:aws:logs:eu-west-1:123456789012:log-group:/aws/lambda/f:log-stream:s"
    assert permission == Permission("logs:PutLogEvents", resource)


def test_a_fault_fails_only_calls_of_functions(cloud: Cloud, caller: Deployed, table: tuple[str, str]) -> None:
    name, arn = table
    caller.allow(allow("dynamodb:GetItem", arn))
    parameters: dict[str, Any] = {"TableName": name, "Key": KEY}
    cloud.aws.set_api_fault(lambda request: (400, "Broken") if request.operation == "GetItem" else None)
    try:
        response = call(caller, "dynamodb", "get_item", **parameters)
        assert response == {"denied": "Broken", "message": "a fault of the local AWS"}
        cloud.client("dynamodb").get_item(**parameters)
    finally:
        cloud.aws.set_api_fault(lambda request: None)
    assert "done" in call(caller, "dynamodb", "get_item", **parameters)
