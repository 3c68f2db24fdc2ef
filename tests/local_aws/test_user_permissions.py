"""A user's calls are allowed by the user's policies; keys of no user are allowed everything."""

from __future__ import annotations

import io
import json
import uuid
import zipfile
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from local_aws.api_request import ApiRequest
from local_aws.modelled import read_request

from .cloud import ASSUMED_BY_LAMBDA, Cloud, allow


class User:
    """A user with a policy, and clients that sign with the user's key."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self.name = uuid.uuid4().hex
        cloud.client("iam").create_user(UserName=self.name)
        self._key = cloud.client("iam").create_access_key(UserName=self.name)["AccessKey"]

    def may(self, *statements: dict[str, Any]) -> None:
        document = json.dumps({"Version": "2012-10-17", "Statement": statements})
        self._cloud.client("iam").put_user_policy(UserName=self.name, PolicyName="own", PolicyDocument=document)

    def client(self, service: Any) -> Any:
        key_id, secret = self._key["AccessKeyId"], self._key["SecretAccessKey"]
        session = boto3.session.Session(key_id, secret, region_name="us-east-1")
        return session.client(service, endpoint_url=self._cloud.url)


@pytest.fixture
def user(cloud: Cloud) -> User:
    return User(cloud)


def denied(call: Any, **parameters: Any) -> str:
    with pytest.raises(ClientError) as error:
        call(**parameters)
    assert error.value.response["Error"]["Code"] in ("AccessDenied", "AccessDeniedException")
    return str(error.value.response["Error"]["Message"])


def test_a_user_may_do_what_the_policy_allows(cloud: Cloud, user: User) -> None:
    url, arn = cloud.queue()
    user.may(allow("sqs:GetQueueAttributes", arn))
    user.client("sqs").get_queue_attributes(QueueUrl=url)
    assert denied(user.client("sqs").delete_queue, QueueUrl=url) == (
        f"User: arn:aws:iam::{cloud.account_id}:user/{user.name} is not authorized to perform: sqs:DeleteQueue on "
        f"resource: {arn} because no identity-based policy allows the sqs:DeleteQueue action"
    )
    assert user.client("sts").get_caller_identity()["Account"] == cloud.account_id


def test_each_protocol_has_its_resource(cloud: Cloud, user: User) -> None:
    at = f"us-east-1:{cloud.account_id}"
    user.may(allow("sts:TagSession", "*"))
    calls = {
        "apigateway:GET on resource: arn:aws:apigateway:us-east-1::/apis ": user.client("apigatewayv2").get_apis,
        f"cloudwatch:DeleteAlarms on resource: arn:aws:cloudwatch:{at}:alarm:a ": lambda: user.client(
            "cloudwatch"
        ).delete_alarms(AlarmNames=["a"]),
        f"iam:GetRole on resource: arn:aws:iam::{cloud.account_id}:role/r ": lambda: user.client("iam").get_role(
            RoleName="r"
        ),
        f"lambda:GetFunction on resource: arn:aws:lambda:{at}:function:f ": lambda: user.client("lambda").get_function(
            FunctionName="f"
        ),
        f"logs:DeleteLogGroup on resource: arn:aws:logs:{at}:log-group:g ": lambda: user.client(
            "logs"
        ).delete_log_group(logGroupName="g"),
        f"sns:DeleteTopic on resource: arn:aws:sns:{at}:t ": lambda: user.client("sns").delete_topic(
            TopicArn=f"arn:aws:sns:{at}:t"
        ),
    }
    for expected, call in calls.items():
        assert f"is not authorized to perform: {expected}" in denied(call)


def test_a_role_is_passed_only_to_the_service_of_the_condition(cloud: Cloud, user: User) -> None:
    name = uuid.uuid4().hex
    role = cloud.client("iam").create_role(RoleName=name, AssumeRolePolicyDocument=ASSUMED_BY_LAMBDA)["Role"]["Arn"]
    parameters: dict[str, Any] = {
        "FunctionName": name,
        "Role": role,
        "Runtime": "python3.11",
        "Handler": "code.handler",
        "Code": {"ZipFile": b""},
    }
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("code.py", "")
    parameters["Code"]["ZipFile"] = content.getvalue()
    create = allow("lambda:CreateFunction", "*")

    def passes_to(service: str) -> dict[str, Any]:
        return allow("iam:PassRole", role) | {"Condition": {"StringEquals": {"iam:PassedToService": service}}}

    user.may(create, passes_to("ecs-tasks.amazonaws.com"))
    assert f"iam:PassRole on resource: {role} " in denied(user.client("lambda").create_function, **parameters)
    user.may(create, passes_to("lambda.amazonaws.com"))
    assert f"iam:PassRole on resource: {role} " not in str(attempt(user.client("lambda").create_function, **parameters))


def test_the_role_of_an_integration_is_passed_to_api_gateway(cloud: Cloud, user: User) -> None:
    role = cloud.role(uuid.uuid4().hex)
    api = cloud.api("WEBSOCKET", RouteSelectionExpression="$request.body.action")
    create = user.client("apigatewayv2").create_integration
    parameters = {
        "ApiId": api.api_id,
        "IntegrationType": "AWS",
        "IntegrationUri": f"arn:aws:apigateway:us-east-1:sqs:path/{cloud.account_id}/q",
        "CredentialsArn": role,
    }
    of_apis = allow("apigateway:*", "*")

    def passes_to(service: str) -> dict[str, Any]:
        return allow("iam:PassRole", role) | {"Condition": {"StringEquals": {"iam:PassedToService": service}}}

    user.may(of_apis, passes_to("lambda.amazonaws.com"))
    assert f"iam:PassRole on resource: {role} " in denied(create, **parameters)
    user.may(of_apis, passes_to("apigateway.amazonaws.com"))
    made = create(**parameters)
    user.may(of_apis)
    update = user.client("apigatewayv2").update_integration
    changed = {"ApiId": api.api_id, "IntegrationId": made["IntegrationId"]}
    update(**changed, TimeoutInMillis=1000)
    assert f"iam:PassRole on resource: {role} " in denied(update, **changed, CredentialsArn=role)


def attempt(call: Any, **parameters: Any) -> ClientError | None:
    """Return the error, for a call that this machine's architecture or Python may refuse."""
    try:
        call(**parameters)
    except ClientError as error:
        return error
    return None


@pytest.mark.parametrize(
    ("method", "path", "operation"),
    [
        ("POST", "/2015-03-31/functions", "CreateFunction"),
        ("PUT", "/2015-03-31/functions/f/code", "UpdateFunctionCode"),
        ("GET", "/2017-03-31/tags/arn:aws:lambda:us-east-1:1:function:f", "ListTags"),
        ("GET", "/2020-06-30/functions/f/code-signing-config", "GetFunctionCodeSigningConfig"),
        ("GET", "/2026-01-01/unknown", "GET /2026-01-01/unknown"),
    ],
)
def test_operations_of_lambda_are_known_by_their_paths(method: str, path: str, operation: str) -> None:
    scope = "AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/lambda/aws4_request"
    request = ApiRequest(method, path, {"authorization": scope})
    modelled = read_request(request)
    assert (modelled.operation.name if modelled else request.operation) == operation
