"""What AWS refuses and moto takes: a fault gets AWS's error, and its neighbour within the limit is accepted."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from .cloud import ASSUMED_BY_LAMBDA, TIMEOUT_S, Cloud, allow, zipped


class World:
    """A table whose index has few attributes, two queues, two APIs, a function, a role; boto3 does not check calls."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._session = boto3.session.Session("local", "local", region_name="us-east-1")
        self.table = f"table-{uuid.uuid4().hex}"
        self.client("dynamodb").create_table(
            TableName=self.table,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"} for key in ("id", "sort", "kind")],
            KeySchema=[
                {"AttributeName": "id", "KeyType": "HASH"},
                {"AttributeName": "sort", "KeyType": "RANGE"},
            ],
            GlobalSecondaryIndexes=[
                {
                    "IndexName": "by-kind",
                    "KeySchema": [{"AttributeName": "kind", "KeyType": "HASH"}],
                    "Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["size"]},
                }
            ],
        )
        self.queue, self.queue_arn = cloud.queue()
        self.fifo, _ = cloud.queue(fifo=True)
        self.websocket_api = cloud.api("WEBSOCKET", RouteSelectionExpression="$request.body.action").api_id
        self.http_api = cloud.api("HTTP").api_id
        self.function = cloud.function("def handler(event, context): return event")
        self.role = f"role-{uuid.uuid4().hex}"
        made = self.client("iam").create_role(RoleName=self.role, AssumeRolePolicyDocument=ASSUMED_BY_LAMBDA)
        self.role_arn = made["Role"]["Arn"]

    def client(self, service: str) -> Any:
        config = Config(parameter_validation=False, read_timeout=TIMEOUT_S, retries={"total_max_attempts": 1})
        session: Any = self._session  # its types know names of services, not any string
        return session.client(service, endpoint_url=self._cloud.url, config=config)

    def write(self, count: int) -> None:
        puts = [{"PutRequest": {"Item": self.key(str(number))}} for number in range(count)]
        self.client("dynamodb").batch_write_item(RequestItems={self.table: puts})

    @staticmethod
    def key(partition: str = "a", sort: str = "b") -> dict[str, Any]:
        return {"id": {"S": partition}, "sort": {"S": sort}}

    def delete(self, **more: Any) -> None:
        self.client("dynamodb").delete_item(**{"TableName": self.table, "Key": self.key()} | more)

    def query(self, **more: Any) -> None:
        names = {"KeyConditionExpression": "id = :v", "ExpressionAttributeValues": {":v": {"S": "a"}}}
        self.client("dynamodb").query(**{"TableName": self.table} | names | more)

    def query_index(self, **more: Any) -> None:
        self.query(IndexName="by-kind", KeyConditionExpression="kind = :v", **more)

    def scan(self, **more: Any) -> None:
        self.client("dynamodb").scan(TableName=self.table, **more)

    def send(self, **more: Any) -> None:
        self.client("sqs").send_message(**{"QueueUrl": self.queue, "MessageBody": "x"} | more)

    def send_to_group(self, **more: Any) -> None:
        self.send(**{"QueueUrl": self.fifo, "MessageGroupId": "g"} | more)

    def set_attribute(self, name: str, value: int) -> None:
        self.client("sqs").set_queue_attributes(QueueUrl=self.queue, Attributes={name: str(value)})

    def integrate(self, api_id: str, timeout_ms: int) -> None:
        self.client("apigatewayv2").create_integration(
            ApiId=api_id,
            IntegrationType="AWS_PROXY",
            IntegrationUri=self.function.arn,
            TimeoutInMillis=timeout_ms,
        )

    def respond(self, route_response_key: str, integration_response_key: str) -> None:
        api = {"ApiId": self.websocket_api}
        client = self.client("apigatewayv2")
        integration = {"IntegrationId": client.create_integration(**api, IntegrationType="MOCK")["IntegrationId"]}
        client.create_integration_response(**api, **integration, IntegrationResponseKey=integration_response_key)
        route_id = client.create_route(**api, RouteKey=uuid.uuid4().hex)["RouteId"]
        client.create_route_response(**api, RouteId=route_id, RouteResponseKey=route_response_key)

    def integrate_service(self, service: str, role_arn: str | None = None) -> None:
        parameters = {} if role_arn is None else {"CredentialsArn": role_arn}
        self.client("apigatewayv2").create_integration(
            ApiId=self.websocket_api,
            IntegrationType="AWS",
            IntegrationUri=f"arn:aws:apigateway:us-east-1:{service}",
            **parameters,
        )

    def stage(self, name: str) -> None:
        self.client("apigatewayv2").create_stage(ApiId=self.http_api, StageName=name)

    def create_function(self, name: str = "f", **more: Any) -> None:
        made = self._cloud.client("lambda").get_function_configuration(FunctionName=self.function.name)
        self.client("lambda").create_function(
            FunctionName=uuid.uuid4().hex + name,
            Role=self.role_arn,
            Code={"ZipFile": zipped("")},
            Handler="code.handler",
            Runtime=made["Runtime"],
            Architectures=made["Architectures"],
            **more,
        )

    def set_variables(self, **variables: str) -> None:
        self.client("lambda").update_function_configuration(
            FunctionName=self.function.name, Environment={"Variables": variables}
        )

    def feed(self, most: int) -> None:
        self.client("lambda").create_event_source_mapping(
            FunctionName=self.function.name,
            EventSourceArn=self.queue_arn,
            ScalingConfig={"MaximumConcurrency": most},
            Enabled=False,
        )

    def put_policy(self, resources: int) -> None:
        statement = allow("sqs:SendMessage", *(f"arn:aws:sqs:us-east-1:1:{n:0100}" for n in range(resources)))
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        self.client("iam").put_role_policy(RoleName=self.role, PolicyName="p", PolicyDocument=policy)

    def create_role(self, characters: int) -> None:
        name = uuid.uuid4().hex.ljust(characters, "r")
        self.client("iam").create_role(RoleName=name, AssumeRolePolicyDocument=ASSUMED_BY_LAMBDA)

    def create_log_group(self, name: str) -> None:
        self.client("logs").create_log_group(logGroupName=uuid.uuid4().hex + name)

    def create_secret(self, name: str = "s", characters: int = 1) -> None:
        self.client("secretsmanager").create_secret(Name=uuid.uuid4().hex + name, SecretString="x" * characters)


@pytest.fixture(scope="module")
def world(cloud: Cloud) -> World:
    return World(cloud)


Call = Callable[[World], None]
UNUSED = {":v": {"S": "a"}, ":u": {"S": "u"}}
TOO_MUCH = {**World.key(), "other": {"S": "c"}}
FAULTS: dict[str, tuple[Call, str, str, Call]] = {
    "writes": (lambda w: w.write(26), "ValidationException", "Too many items requested", lambda w: w.write(25)),
    "start key of a query": (
        lambda w: w.query(ExclusiveStartKey=TOO_MUCH),
        "ValidationException",
        "The provided starting key is invalid",
        lambda w: w.query(ExclusiveStartKey=World.key()),
    ),
    "start key of an index": (
        lambda w: w.query_index(ExclusiveStartKey=World.key()),
        "ValidationException",
        "The provided starting key is invalid",
        lambda w: w.query_index(ExclusiveStartKey={**World.key(), "kind": {"S": "a"}}),
    ),
    "start key of a scan": (
        lambda w: w.scan(ExclusiveStartKey=TOO_MUCH),
        "ValidationException",
        "The provided key element does not match the schema",
        lambda w: w.scan(ExclusiveStartKey=World.key()),
    ),
    "projection": (
        lambda w: w.query_index(ProjectionExpression="id, #o", ExpressionAttributeNames={"#o": "other"}),
        "ValidationException",
        "Global secondary index by-kind does not project [other]",
        lambda w: w.query_index(ProjectionExpression="id, kind, #s", ExpressionAttributeNames={"#s": "size"}),
    ),
    "limit": (
        lambda w: w.query(Limit=0),
        "ValidationException",
        "greater than or equal to 1",
        lambda w: w.query(Limit=1),
    ),
    "unused value": (
        lambda w: w.query(ExpressionAttributeValues=UNUSED),
        "ValidationException",
        "ExpressionAttributeValues unused in expressions: keys: {:u}",
        lambda w: w.query(ExpressionAttributeValues=UNUSED, FilterExpression="size(kind) > :u"),
    ),
    "partition key": (
        lambda w: w.delete(Key=World.key("x" * 2049)),
        "ValidationException",
        "Size of hashkey",
        lambda w: w.delete(Key=World.key("x" * 2048)),
    ),
    "sort key": (
        lambda w: w.delete(Key=World.key(sort="x" * 1025)),
        "ValidationException",
        "Aggregated size of all range keys",
        lambda w: w.delete(Key=World.key(sort="x" * 1024)),
    ),
    "empty key": (
        lambda w: w.delete(Key=World.key(sort="")),
        "ValidationException",
        "empty string value. Key: sort",
        lambda w: w.delete(Key=World.key(sort=" ")),
    ),
    "characters of a body": (
        lambda w: w.send(MessageBody="a\x01"),
        "InvalidMessageContents",
        "Invalid characters found",
        lambda w: w.send(MessageBody="\t\n\r \ud7ff\ue000\ufffd\U0001f600"),
    ),
    "no body": (lambda w: w.send(MessageBody=""), "MissingParameter", "MessageBody", lambda w: w.send(MessageBody=" ")),
    "long group id": (
        lambda w: w.send_to_group(MessageGroupId="g" * 129),
        "InvalidParameterValue",
        "MessageGroupId can only include",
        lambda w: w.send_to_group(MessageGroupId="g" * 128),
    ),
    "group id with a space": (
        lambda w: w.send_to_group(MessageGroupId="g g"),
        "InvalidParameterValue",
        "MessageGroupId can only include",
        lambda w: w.send_to_group(MessageGroupId="g!~"),
    ),
    "long deduplication id": (
        lambda w: w.send_to_group(MessageDeduplicationId="d" * 129),
        "InvalidParameterValue",
        "MessageDeduplicationId can only include",
        lambda w: w.send_to_group(MessageDeduplicationId="d" * 128),
    ),
    "visibility timeout": (
        lambda w: w.set_attribute("VisibilityTimeout", 43_201),
        "InvalidAttributeValue",
        "VisibilityTimeout",
        lambda w: w.set_attribute("VisibilityTimeout", 43_200),
    ),
    "retention": (
        lambda w: w.set_attribute("MessageRetentionPeriod", 59),
        "InvalidAttributeValue",
        "MessageRetentionPeriod",
        lambda w: w.set_attribute("MessageRetentionPeriod", 60),
    ),
    "timeout of a WebSocket integration": (
        lambda w: w.integrate(w.websocket_api, 30_000),
        "BadRequestException",
        "Timeout should be between 50 ms and 29000 ms",
        lambda w: w.integrate(w.websocket_api, 29_000),
    ),
    "timeout of an HTTP integration": (
        lambda w: w.integrate(w.http_api, 30_001),
        "BadRequestException",
        "Timeout should be between 50 ms and 30000 ms",
        lambda w: w.integrate(w.http_api, 30_000),
    ),
    "route response key": (
        lambda w: w.respond("200", "$default"),
        "BadRequestException",
        "Invalid route response key 200: only $default is supported",
        lambda w: w.respond("$default", "$default"),
    ),
    "integration response key": (
        lambda w: w.respond("$default", "200"),
        "BadRequestException",
        "Invalid integration response key 200: it must be $default or /expression/",
        lambda w: w.respond("$default", "/200/"),
    ),
    "integration without a URI": (
        lambda w: w.client("apigatewayv2").create_integration(ApiId=w.websocket_api, IntegrationType="AWS"),
        "BadRequestException",
        "AWS ARN for integration must contain path or action",
        lambda w: w.client("apigatewayv2").create_integration(ApiId=w.websocket_api, IntegrationType="MOCK"),
    ),
    "URI of an integration": (
        lambda w: w.integrate_service("sqs:1/q", w.role_arn),
        "BadRequestException",
        "AWS ARN for integration must contain path or action",
        lambda w: w.integrate_service("sqs:path/1/q", w.role_arn),
    ),
    "integration without a role": (
        lambda w: w.integrate_service("sqs:path/1/q"),
        "BadRequestException",
        "Role ARN must be specified for AWS integrations",
        lambda w: w.integrate_service(f"lambda:path/2015-03-31/functions/{w.function.arn}/invocations"),
    ),
    "stage name": (lambda w: w.stage("a b"), "BadRequestException", "Stage name", lambda w: w.stage("a-b_1")),
    "function name": (
        lambda w: w.create_function("f" * 33),
        "ValidationException",
        "length less than or equal to 64",
        lambda w: w.create_function("f" * 32),
    ),
    "description": (
        lambda w: w.create_function(Description="d" * 257),
        "ValidationException",
        "length less than or equal to 256",
        lambda w: w.create_function(Description="d" * 256),
    ),
    "timeout": (
        lambda w: w.create_function(Timeout=901),
        "ValidationException",
        "value less than or equal to 900",
        lambda w: w.create_function(Timeout=900),
    ),
    "memory": (
        lambda w: w.create_function(MemorySize=127),
        "ValidationException",
        "value greater than or equal to 128",
        lambda w: w.create_function(MemorySize=128),
    ),
    "size of variables": (
        lambda w: w.set_variables(A="a" * 4089),
        "InvalidParameterValueException",
        "exceeded the 4KB limit",
        lambda w: w.set_variables(A="a" * 4088),
    ),
    "reserved variable": (
        lambda w: w.set_variables(AWS_REGION="us-east-1"),
        "InvalidParameterValueException",
        "Reserved keys used in this request: AWS_REGION",
        lambda w: w.set_variables(REGION="us-east-1"),
    ),
    "maximum concurrency": (
        lambda w: w.feed(1),
        "ValidationException",
        "'scalingConfig.maximumConcurrency'",
        lambda w: w.feed(2),
    ),
    "inline policies": (lambda w: w.put_policy(90), "LimitExceeded", "10240", lambda w: w.put_policy(70)),
    "role name": (lambda w: w.create_role(65), "ValidationError", "equal to 64", lambda w: w.create_role(64)),
    "log group": (
        lambda w: w.create_log_group("a b"),
        "InvalidParameterException",
        "'logGroupName'",
        lambda w: w.create_log_group("/a_b.c-#"),
    ),
    "secret name": (
        lambda w: w.create_secret("a b"),
        "ValidationException",
        "Invalid name",
        lambda w: w.create_secret("/_+=.@-"),
    ),
    "secret": (
        lambda w: w.create_secret(characters=65_537),
        "ValidationException",
        "'secretString'",
        lambda w: w.create_secret(characters=65_536),
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_refused_and_its_neighbour_is_not(world: World, fault: str) -> None:
    call, code, message, neighbour = FAULTS[fault]
    with pytest.raises(ClientError) as refused:
        call(world)
    error = refused.value.response["Error"]
    assert error["Code"] == code
    assert message in error["Message"]
    neighbour(world)


def test_a_refused_message_of_a_batch_fails_alone(world: World) -> None:
    entries = [{"Id": "bad", "MessageBody": "a\x01"}, {"Id": "good", "MessageBody": "a"}]
    sent = world.client("sqs").send_message_batch(QueueUrl=world.queue, Entries=entries)
    assert [(entry["Id"], entry["Code"], entry["SenderFault"]) for entry in sent["Failed"]] == [
        ("bad", "InvalidMessageContents", True)
    ]
    assert [entry["Id"] for entry in sent["Successful"]] == ["good"]
    alone = world.client("sqs").send_message_batch(QueueUrl=world.queue, Entries=entries[:1])
    assert [entry["Id"] for entry in alone["Failed"]] == ["bad"]
