"""Deploys to the local AWS with boto3: functions of a few lines, APIs and queues."""

from __future__ import annotations

import functools
import io
import json
import os
import uuid
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from local_aws import LocalAws, LocalAwsSettings
from local_aws.runtime_python import RuntimePython

TIMEOUT_S = 20
RUNTIME_PYTHON = Path(
    os.environ.get("LOCAL_AWS_RUNTIME_PYTHON") or Path(__file__).parents[2] / ".venv-lambda" / "bin" / "python"
)
"""`make` creates it; a test that cannot find it fails."""

ASSUMED_BY_LAMBDA = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "lambda.amazonaws.com"}}
        ],
    }
)


def settings(*, port: int = 0, max_environments: int = 4) -> LocalAwsSettings:
    """Return settings for a local AWS with an account of its own."""
    account_id = str(uuid.uuid4().int)[:12]
    return LocalAwsSettings(RUNTIME_PYTHON, port, account_id, max_environments=max_environments)


def allow(action: str | list[str], *resources: str) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": list(resources)}


def zipped(source: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("code.py", source)
    return buffer.getvalue()


@dataclass(frozen=True)
class Deployed:
    """A function. `call` invokes it and returns its response, `fail` its error."""

    cloud: Cloud
    name: str
    arn: str
    role: str

    def call(self, event: object = None, **options: str) -> Any:
        response = self._invoke(event, **options)
        assert "FunctionError" not in response, response["Payload"].read()
        return json.load(response["Payload"])

    def fail(self, event: object = None) -> dict[str, Any]:
        response = self._invoke(event)
        assert response["FunctionError"] == "Unhandled"
        error: dict[str, Any] = json.load(response["Payload"])
        return error

    def let_invoke(self, source_arn: str, **options: str) -> None:
        """Allow API Gateway to invoke it."""
        self.cloud.client("lambda").add_permission(
            FunctionName=self.name,
            StatementId=uuid.uuid4().hex,
            Action="lambda:InvokeFunction",
            Principal="apigateway.amazonaws.com",
            SourceArn=source_arn,
            **options,
        )

    def allow(self, *statements: dict[str, Any]) -> None:
        """Replace its role's policy; without statements, with one that allows nothing useful."""
        self.cloud.client("iam").put_role_policy(
            RoleName=self.role,
            PolicyName="function",
            PolicyDocument=json.dumps(
                {"Version": "2012-10-17", "Statement": statements or [allow("sts:TagSession", "*")]}
            ),
        )

    def _invoke(self, event: object, **options: str) -> Any:
        named = {name.capitalize(): value for name, value in options.items()}
        return self.cloud.client("lambda").invoke(FunctionName=self.name, Payload=json.dumps(event), **named)


@dataclass(frozen=True)
class Api:
    cloud: Cloud
    api_id: str
    endpoint: str

    @property
    def arn(self) -> str:
        return f"arn:aws:execute-api:us-east-1:{self.cloud.account_id}:{self.api_id}"

    def integrate(
        self,
        function: Deployed,
        *route_keys: str,
        timeout_ms: int = 10_000,
        permit: bool = True,
        qualifier: str | None = None,
    ) -> None:
        """Lead routes to a function; `permit` lets them invoke it."""
        client = self.cloud.client("apigatewayv2")
        invoked = function.arn if qualifier is None else f"{function.arn}:{qualifier}"
        arn = f"arn:aws:apigateway:us-east-1:lambda:path/2015-03-31/functions/{invoked}/invocations"
        integration = client.create_integration(
            ApiId=self.api_id, IntegrationType="AWS_PROXY", IntegrationUri=arn, TimeoutInMillis=timeout_ms
        )
        for route_key in route_keys:
            client.create_route(
                ApiId=self.api_id, RouteKey=route_key, Target=f"integrations/{integration['IntegrationId']}"
            )
        if permit:
            function.let_invoke(f"{self.arn}/*")

    def stage(self, name: str, **settings: Any) -> None:
        self.cloud.client("apigatewayv2").create_stage(
            ApiId=self.api_id, StageName=name, **({"AutoDeploy": True} | settings)
        )


class Cloud:
    """boto3 against one local AWS. `client` returns a client for a service, in a region."""

    def __init__(self, aws: LocalAws) -> None:
        self.aws = aws
        self.url = aws.url
        self.account_id = aws.settings.account_id
        self.client: Callable[..., Any] = functools.cache(self._client)

    def function(
        self,
        source: str,
        *statements: dict[str, Any],
        environment: Mapping[str, str] | None = None,
        timeout_s: int = TIMEOUT_S,
        **more: Any,
    ) -> Deployed:
        """Deploy `source`, which defines `handler`; its role has a policy of `statements`."""
        name = f"f-{uuid.uuid4().hex[:12]}"
        role = self.role(f"role-of-{name}")
        made = self.client("lambda").create_function(
            FunctionName=name,
            Role=role,
            Code={"ZipFile": zipped(source)},
            Handler="code.handler",
            Timeout=timeout_s,
            Environment={"Variables": environment or {}},
            **(_runtime() | more),
        )
        function = Deployed(self, name, made["FunctionArn"], f"role-of-{name}")
        if statements:
            function.allow(*statements)
        return function

    def role(self, name: str) -> str:
        """Return the ARN of a new role for functions."""
        made = self.client("iam").create_role(RoleName=name, AssumeRolePolicyDocument=ASSUMED_BY_LAMBDA)
        return str(made["Role"]["Arn"])

    def api(self, protocol: str, **more: Any) -> Api:
        made = self.client("apigatewayv2").create_api(Name=uuid.uuid4().hex, ProtocolType=protocol, **more)
        return Api(self, made["ApiId"], made["ApiEndpoint"])

    def queue(self, *, fifo: bool = False, **attributes: str) -> tuple[str, str]:
        """Return URL and ARN of a new queue."""
        name = uuid.uuid4().hex + (".fifo" if fifo else "")
        attributes |= {"FifoQueue": "true", "ContentBasedDeduplication": "true"} if fifo else {}
        url = self.client("sqs").create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
        return url, f"arn:aws:sqs:us-east-1:{self.account_id}:{name}"

    def table(self) -> tuple[str, str]:
        """Return name and ARN of a new table with key `id` and an index `by-kind`."""
        name = uuid.uuid4().hex
        self.client("dynamodb").create_table(
            TableName=name,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"} for key in ("id", "kind")],
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            GlobalSecondaryIndexes=[
                {
                    "IndexName": "by-kind",
                    "KeySchema": [{"AttributeName": "kind", "KeyType": "HASH"}],
                    "Projection": {"ProjectionType": "ALL"},
                }
            ],
        )
        return name, f"arn:aws:dynamodb:us-east-1:{self.account_id}:table/{name}"

    def feed(self, function: Deployed, queue_arn: str, **settings: Any) -> str:
        """Map a queue to a function; return the mapping's id."""
        made = self.client("lambda").create_event_source_mapping(
            EventSourceArn=queue_arn, FunctionName=function.name, **settings
        )
        return str(made["UUID"])

    def _client(self, service: str, region: str = "us-east-1") -> Any:
        session: Any = _session()  # its types know names of services, not any string
        config = Config(connect_timeout=2, read_timeout=TIMEOUT_S, retries={"total_max_attempts": 1})
        return session.client(service, region_name=region, endpoint_url=self.url, config=config)


@functools.cache
def _runtime() -> dict[str, Any]:
    """Return the parameters of CreateFunction for a function that can run here."""
    python = RuntimePython(RUNTIME_PYTHON)
    return {"Runtime": f"python{python.version}", "Architectures": [python.architecture]}


@functools.cache
def _session() -> boto3.session.Session:
    """Return one for all tests: it keeps the services' models, which are slow to load."""
    return boto3.session.Session(aws_access_key_id="local", aws_secret_access_key="local", region_name="us-east-1")
