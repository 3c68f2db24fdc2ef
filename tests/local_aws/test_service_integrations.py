"""Routes of WebSocket APIs with integrations of type AWS into a queue: texts arrive, and what is wrong is logged."""

from __future__ import annotations

import base64
import json
import uuid
from dataclasses import replace
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

from local_aws import LocalAws, Strictness

from .cloud import TIMEOUT_S, Api, Cloud, allow, settings
from .waiting import ASK, WaitingRoom

ASSUMED_BY_API_GATEWAY = {
    "Effect": "Allow",
    "Action": "sts:AssumeRole",
    "Principal": {"Service": "apigateway.amazonaws.com"},
}
FORM = {"integration.request.header.Content-Type": "'application/x-www-form-urlencoded'"}
SEND = "Action=SendMessage&MessageGroupId=$util.urlEncode($context.connectionId)&MessageDeduplicationId="
TEXT = f"{SEND}$util.urlEncode($context.messageId)&MessageBody=$util.urlEncode($util.base64Encode($input.body))."
DISCONNECT = (
    f"{SEND}disconnected&MessageBody=disconnected"
    '#if("$!context.disconnectStatusCode" != "")+$context.disconnectStatusCode#end'
)
SLOW = (
    ASK
    + """
import boto3

def handler(event, context):
    ask(event)
    context = event["requestContext"]
    boto3.client("sqs").send_message(
        QueueUrl=os.environ["QUEUE_URL"],
        MessageBody="slow",
        MessageGroupId=context["connectionId"],
        MessageDeduplicationId=context["requestId"],
    )
    return {"statusCode": 200}
"""
)


def connected(api: Api) -> ClientConnection:
    return connect(f"{api.endpoint}/live", open_timeout=TIMEOUT_S)


class QueueApi:
    """A WebSocket API, a FIFO queue, and API Gateway's role for it. `integrate` leads a route into the queue."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.api = cloud.api("WEBSOCKET", RouteSelectionExpression="$request.body.action")
        self.api.stage("live", StageVariables={"kind": "test"})
        self.queue_url, self.queue_arn = cloud.queue(fifo=True, DeduplicationScope="messageGroup")
        self.queue = self.queue_url.rpartition("/")[2]
        self.role = f"into-{uuid.uuid4().hex}"
        made = cloud.client("iam").create_role(
            RoleName=self.role, AssumeRolePolicyDocument=document(ASSUMED_BY_API_GATEWAY)
        )
        self.role_arn = made["Role"]["Arn"]
        self.allow(allow("sqs:SendMessage", self.queue_arn))

    def allow(self, *statements: dict[str, Any]) -> None:
        self.cloud.client("iam").put_role_policy(
            RoleName=self.role, PolicyName="own", PolicyDocument=document(*statements)
        )

    def trust(self, *statements: dict[str, Any]) -> None:
        self.cloud.client("iam").update_assume_role_policy(RoleName=self.role, PolicyDocument=document(*statements))

    def integration(self, template: str = TEXT, **changes: Any) -> str:
        """Return the id of a new integration; a change of None leaves a parameter out."""
        parameters = {
            "IntegrationType": "AWS",
            "IntegrationMethod": "POST",
            "IntegrationUri": f"arn:aws:apigateway:us-east-1:sqs:path/{self.cloud.account_id}/{self.queue}",
            "CredentialsArn": self.role_arn,
            "RequestParameters": FORM,
            "RequestTemplates": {"$default": template},
            "TemplateSelectionExpression": "\\$default",
            "PassthroughBehavior": "NEVER",
        } | changes
        given = {name: value for name, value in parameters.items() if value is not None}
        made = self.cloud.client("apigatewayv2").create_integration(ApiId=self.api.api_id, **given)
        return str(made["IntegrationId"])

    def integrate(self, route_key: str = "$default", template: str = TEXT, **changes: Any) -> None:
        target = f"integrations/{self.integration(template, **changes)}"
        self.cloud.client("apigatewayv2").create_route(ApiId=self.api.api_id, RouteKey=route_key, Target=target)

    def retarget(self, route_key: str, integration_id: str) -> None:
        client = self.cloud.client("apigatewayv2")
        routes = client.get_routes(ApiId=self.api.api_id)["Items"]
        route_id = next(route["RouteId"] for route in routes if route["RouteKey"] == route_key)
        client.update_route(ApiId=self.api.api_id, RouteId=route_id, Target=f"integrations/{integration_id}")

    def messages(self, count: int) -> list[dict[str, Any]]:
        """Wait for this number of messages, take them out of the queue, and return them."""
        sqs = self.cloud.client("sqs")
        found: list[dict[str, Any]] = []
        while len(found) < count:
            received = sqs.receive_message(
                QueueUrl=self.queue_url, MaxNumberOfMessages=10, WaitTimeSeconds=TIMEOUT_S - 5, AttributeNames=["All"]
            ).get("Messages", [])
            assert received, f"{len(found)} of {count} messages came"
            for message in received:
                sqs.delete_message(QueueUrl=self.queue_url, ReceiptHandle=message["ReceiptHandle"])
            found += received
        return found

    def bodies(self, count: int) -> list[str]:
        return [message["Body"] for message in self.messages(count)]


def document(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


@pytest.fixture
def into(cloud: Cloud) -> QueueApi:
    return QueueApi(cloud)


def problems(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]


@pytest.mark.parametrize("text", ["hello", "", "\0 a&b=+%41 \"'\\ \u2028 😀", "x" * 131_072])
def test_text_arrives_in_the_queue(into: QueueApi, text: str) -> None:
    into.integrate()
    with connected(into.api) as client:
        client.send([text[start : start + 32_768] for start in range(0, len(text) or 1, 32_768)])
        (message,) = into.messages(1)
    assert base64.b64decode(message["Body"].rstrip(".")).decode() == text
    assert len(message["Attributes"]["MessageGroupId"]) == 16
    assert message["Attributes"]["MessageDeduplicationId"]


def test_client_gets_nothing_for_a_text_that_was_taken(into: QueueApi, caplog: pytest.LogCaptureFixture) -> None:
    into.integrate()
    into.integrate("fail", TEXT, CredentialsArn=f"{into.role_arn}x")
    with connected(into.api) as client:
        client.send("taken")
        client.send('{"action": "fail"}')
        assert json.loads(client.recv(TIMEOUT_S))["message"] == "Internal server error"


def test_200_texts_arrive_in_order_and_the_disconnect_last(into: QueueApi) -> None:
    into.integrate()
    into.integrate("$disconnect", DISCONNECT)
    with connected(into.api) as client:
        for number in range(200):
            client.send(str(number))
    messages = into.messages(201)
    assert [base64.b64decode(message["Body"].rstrip(".")).decode() for message in messages[:200]] == [
        *map(str, range(200))
    ]
    assert messages[200]["Body"] == "disconnected 1000"


def test_a_socket_that_is_open_hands_over_one_text_at_a_time_once_its_route_has_changed(
    cloud: Cloud, into: QueueApi
) -> None:
    with WaitingRoom() as room:
        environment = {"TEST": room.address, "QUEUE_URL": into.queue_url}
        slow = cloud.function(SLOW, allow("sqs:SendMessage", into.queue_arn), environment=environment)
        into.api.integrate(slow, "slow", "$default")
        with connected(into.api) as client:
            client.send("before")
            room.next().reply("done")
            assert into.bodies(1) == ["slow"]
            into.retarget("$default", into.integration())
            client.send('{"action": "slow"}')
            function = room.next()
            client.send("x")
            function.reply("done")
            assert into.bodies(2) == ["slow", "eA==."]


def test_without_disconnect_codes_the_template_has_none() -> None:
    with LocalAws(replace(settings(), strictness=Strictness(disconnect_codes=False))) as aws:
        into = QueueApi(Cloud(aws))
        into.integrate("$disconnect", DISCONNECT)
        with connected(into.api):
            pass
        assert into.bodies(1) == ["disconnected"]


def test_template_has_the_stages_variables(into: QueueApi) -> None:
    into.integrate(template=f"{SEND}1&MessageBody=$stageVariables.kind")
    with connected(into.api) as client:
        client.send("x")
        assert into.bodies(1) == ["test"]


def test_text_without_a_template_may_pass_through(into: QueueApi) -> None:
    into.integrate(RequestTemplates=None, PassthroughBehavior="WHEN_NO_TEMPLATES")
    with connected(into.api) as client:
        client.send("Action=SendMessage&MessageGroupId=g&MessageBody=passed")
        assert into.bodies(1) == ["passed"]


def sets(name: str, value: str) -> dict[str, Any]:
    return {"RequestParameters": {f"integration.request.header.{name}": value}}


NEVER = "it has no request template $default, and its passthrough_behavior is NEVER"
URI = "arn:aws:apigateway:us-east-1"
FAILURES: dict[str, tuple[dict[str, Any], str]] = {
    "template": (
        {"template": f"{TEXT}$context.nothing"},
        "its template: $context.nothing: API Gateway has no $context.nothing",
    ),
    "no template": ({"RequestTemplates": None}, NEVER),
    "another template": (
        {"RequestTemplates": {"other": TEXT}, "PassthroughBehavior": "WHEN_NO_TEMPLATES"},
        NEVER.replace("NEVER", "WHEN_NO_TEMPLATES"),
    ),
    "selection": (
        {"TemplateSelectionExpression": "${request.body.x}"},
        r"the local AWS knows static template selection expressions, such as \$default",
    ),
    "content type": (
        {"RequestParameters": None},
        "its Content-Type is application/json, and SQS takes application/x-www-form-urlencoded",
    ),
    "header": (sets("X", "'1'"), "the local AWS cannot set the request parameter integration.request.header.X to '1'"),
    "value": (
        sets("Content-Type", "context.x"),
        "the local AWS cannot set the request parameter integration.request.header.Content-Type to context.x",
    ),
    "another service": (
        {"IntegrationUri": f"{URI}:sns:path//"},
        f"the URI {URI}:sns:path// is not that of an SQS queue, the only one known here",
    ),
    "another account": (
        {"IntegrationUri": f"{URI}:sqs:path/111122223333/q"},
        f"the queue of {URI}:sqs:path/111122223333/q belongs to another account",
    ),
    "form": ({"template": "hello"}, "what its template renders is not a form: bad query field: 'hello'"),
    "field twice": ({"template": f"{TEXT}&MessageBody=x"}, "what its template renders has a field twice"),
    "unknown field": (
        {"template": f"{TEXT}&MessageBdy=x"},
        "the local AWS does not know what its template renders: MessageBdy",
    ),
    "delay": ({"template": f"{TEXT}&DelaySeconds=a"}, "the DelaySeconds that its template renders are not a number"),
    "action": (
        {"template": "Action=DeleteQueue"},
        "the Action that its template renders is DeleteQueue; the local AWS knows SendMessage",
    ),
    "no role": ({"CredentialsArn": "arn:aws:iam::1:role/no"}, "the role arn:aws:iam::1:role/no does not exist"),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_what_is_wrong_is_logged_and_the_client_hears_of_a_failure(
    into: QueueApi, failure: str, caplog: pytest.LogCaptureFixture
) -> None:
    changes, problem = FAILURES[failure]
    into.integrate(**changes)
    with connected(into.api) as client:
        client.send("x")
        message = json.loads(client.recv(TIMEOUT_S))
    assert message.keys() == {"message", "connectionId", "requestId"}
    assert message["message"] == "Internal server error"
    assert problems(caplog) == [f"API {into.api.api_id}, route $default: {problem}"]


def failure_of(into: QueueApi, caplog: pytest.LogCaptureFixture, text: str = "x") -> str:
    """Send a text that must fail; return the line of the log about it."""
    into.integrate()
    with connected(into.api) as client:
        client.send(text)
        assert json.loads(client.recv(TIMEOUT_S))["message"] == "Internal server error"
    (problem,) = problems(caplog)
    return problem.removeprefix(f"API {into.api.api_id}, route $default: ")


@pytest.mark.parametrize(
    "statement",
    [
        {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "lambda.amazonaws.com"}},
        {"Effect": "Allow", "Action": "sts:TagSession", "Principal": {"Service": "apigateway.amazonaws.com"}},
        ASSUMED_BY_API_GATEWAY | {"Condition": {"StringEquals": {"aws:SourceAccount": "1"}}},
    ],
)
def test_role_that_does_not_trust_api_gateway(
    into: QueueApi, caplog: pytest.LogCaptureFixture, statement: dict[str, Any]
) -> None:
    into.trust(statement)
    assert failure_of(into, caplog) == (
        f"the trust policy of {into.role_arn} does not let apigateway.amazonaws.com assume it"
    )


def test_role_that_may_not_send(cloud: Cloud, into: QueueApi, caplog: pytest.LogCaptureFixture) -> None:
    into.allow(allow("sqs:SendMessage", f"{into.queue_arn}-other"))
    principal = f"arn:aws:sts::{cloud.account_id}:assumed-role/{into.role}/BackplaneAssumeRoleSession"
    assert failure_of(into, caplog) == (
        f"SQS did not take a message for the queue {into.queue}: User: {principal} is not authorized to perform: "
        f"sqs:SendMessage on resource: {into.queue_arn} because no identity-based policy allows the sqs:SendMessage "
        "action"
    )
    assert (principal, "sqs:SendMessage", False) in [
        (decision.principal, decision.action, decision.allowed) for decision in cloud.aws.access_decisions()
    ]


def test_queue_that_does_not_exist(cloud: Cloud, into: QueueApi, caplog: pytest.LogCaptureFixture) -> None:
    cloud.client("sqs").delete_queue(QueueUrl=into.queue_url)
    assert failure_of(into, caplog) == (
        f"SQS did not take a message for the queue {into.queue}: The specified queue does not exist."
    )


def test_message_that_the_queue_does_not_take(into: QueueApi, caplog: pytest.LogCaptureFixture) -> None:
    into.integrate(template="Action=SendMessage&MessageGroupId=a+b&MessageBody=x")
    with connected(into.api) as client:
        client.send("x")
        client.recv(TIMEOUT_S)
    (problem,) = problems(caplog)
    assert "Value a b for parameter MessageGroupId is invalid." in problem


def test_route_response_is_not_known(into: QueueApi, caplog: pytest.LogCaptureFixture) -> None:
    into.integrate()
    client = into.cloud.client("apigatewayv2")
    (route,) = client.get_routes(ApiId=into.api.api_id)["Items"]
    two_way = {"ApiId": into.api.api_id, "RouteId": route["RouteId"]}
    client.update_route(**two_way, RouteResponseSelectionExpression="$default")
    client.create_route_response(**two_way, RouteResponseKey="$default")
    with connected(into.api) as socket:
        socket.send("x")
        assert json.loads(socket.recv(TIMEOUT_S))["message"] == "Internal server error"
    (problem,) = problems(caplog)
    assert problem.endswith("the local AWS knows no route response of an integration of type AWS")


def test_failures_of_functions_calls_are_not_those_of_api_gateway(cloud: Cloud, into: QueueApi) -> None:
    into.integrate()
    cloud.aws.set_api_fault(lambda request: (503, "ServiceUnavailable"))
    try:
        with connected(into.api) as client:
            client.send("x")
            assert into.bodies(1) == ["eA==."]
    finally:
        cloud.aws.set_api_fault(lambda request: None)
