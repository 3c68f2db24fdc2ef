"""The time that a text message takes on its way, by part: in the local AWS, with taps on the function's calls."""

from __future__ import annotations

import contextlib
import json
import time
import uuid
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median
from threading import Thread
from typing import Any

import boto3
import urllib3
from botocore.config import Config
from websockets.sync.client import connect

from local_aws import LocalAws, LocalAwsSettings
from local_aws.runtime_python import RuntimePython
from slip_sockets.aws.connections import INDEX_NAME

from ..stubs.lambda_calls import SECRET
from . import events

BACKEND = "the backend's own"
ROUTES = ("$connect", "$default", "$disconnect")
_ASSUMED_BY_LAMBDA = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}
_ALL = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}


class Tap:
    """A server that forwards requests to `target_url` and notes their times. `url` has the same path."""

    def __init__(self, target_url: str) -> None:
        self.request_at = self.response_at = 0.0
        """Of the last request."""
        url = urllib3.util.parse_url(target_url)
        origin = f"{url.scheme}://{url.netloc}"
        tap, pool = self, urllib3.PoolManager()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                tap.request_at = time.perf_counter()
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name: value for name, value in self.headers.items() if name.lower() != "content-length"}
                response = pool.request("POST", origin + self.path, body=body, headers=headers, redirect=False)
                self.send_response(response.status)
                for name in ("Content-Type", "x-amzn-ErrorType"):
                    if name in response.headers:
                        self.send_header(name, response.headers[name])
                self.send_header("Content-Length", str(len(response.data)))
                self.end_headers()
                tap.response_at = time.perf_counter()
                self.wfile.write(response.data)

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}{url.path or ''}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def parts_s(python: Path, package: Path, backend_url: str, messages: int) -> Mapping[str, float]:
    """Return the median of each part of a message's way from the client and back, in order."""
    settings = LocalAwsSettings(python, 0, str(uuid.uuid4().int)[:12], max_environments=2)
    taken: dict[str, list[float]] = {}
    with (
        LocalAws(settings) as aws,
        _deployed(aws, package, backend_url) as (url, table, backend, management),
        connect(url) as socket,
    ):
        for number in range(messages + 5):
            sent_at = time.perf_counter()
            socket.send(events.TEXT)
            socket.recv()
            received_at = time.perf_counter()
            moments = {
                "to the function, and to its read": table.request_at,
                "the read of the table": table.response_at,
                "to the backend": backend.request_at,
                BACKEND: backend.response_at,
                "to the post": management.request_at,
                "the post, and to the client": received_at,
            }
            before = sent_at
            for part, moment in moments.items():
                if number >= 5:
                    taken.setdefault(part, []).append(moment - before)
                before = moment
            time.sleep(0.02)  # until the function is idle again
    return {part: median(each) for part, each in taken.items()}


@contextlib.contextmanager
def _deployed(aws: LocalAws, package: Path, backend_url: str) -> Iterator[tuple[str, Tap, Tap, Tap]]:
    """Deploy what a text message needs; yield the socket's URL and the taps of table, backend and management API."""

    def client(service: Any) -> Any:
        config = Config(retries={"total_max_attempts": 1})
        return session.client(service, endpoint_url=aws.url, config=config)

    session = boto3.session.Session(
        aws_access_key_id="local", aws_secret_access_key="local", region_name=aws.settings.region
    )
    runtime = RuntimePython(aws.settings.runtime_python)
    apis, functions = client("apigatewayv2"), client("lambda")
    api = apis.create_api(Name="bench", ProtocolType="WEBSOCKET", RouteSelectionExpression="$request.body.action")
    with contextlib.ExitStack() as taps:
        table, backend, management = (
            taps.enter_context(contextlib.closing(Tap(url)))
            for url in (aws.url, backend_url, f"{aws.url}/{api['ApiId']}/live")
        )
        secret = client("secretsmanager").create_secret(Name="secret", SecretString=json.dumps([SECRET]))
        client("dynamodb").create_table(
            TableName="Connections",
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"} for key in ("connectionId", "channel")],
            KeySchema=[
                {"AttributeName": "connectionId", "KeyType": "HASH"},
                {"AttributeName": "channel", "KeyType": "RANGE"},
            ],
            GlobalSecondaryIndexes=[
                {
                    "IndexName": INDEX_NAME,
                    "KeySchema": [{"AttributeName": "channel", "KeyType": "HASH"}],
                    "Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["ttl", "form"]},
                }
            ],
        )
        role = client("iam").create_role(RoleName="bench", AssumeRolePolicyDocument=json.dumps(_ASSUMED_BY_LAMBDA))
        client("iam").put_role_policy(RoleName="bench", PolicyName="bench", PolicyDocument=json.dumps(_ALL))
        function = functions.create_function(
            FunctionName="websocket",
            Role=role["Role"]["Arn"],
            Code={"ZipFile": package.read_bytes()},
            Handler="functions.websocket.handler",
            Runtime=f"python{runtime.version}",
            Architectures=[runtime.architecture],
            Timeout=29,
            Environment={
                "Variables": {
                    "AWS_ENDPOINT_URL_DYNAMODB": table.url,
                    "JWT_SECRET_ARN": secret["ARN"],
                    "JWT_SECRET_VERSION": secret["VersionId"],
                    "MANAGEMENT_URL": management.url,
                    "QUEUE_URL": f"{aws.url}/0/deferred.fifo",
                    "INBOUND_QUEUE_URL": f"{aws.url}/0/inbound.fifo",
                    "DEAD_LETTERS_URL": f"{aws.url}/0/dead-letters.fifo",
                    "STACK_NAME": "bench",
                    "CONNECTIONS_TABLE": "Connections",
                    "CHANNELS_TABLE": "Channels",  # it does not exist: only publishes read it
                    "TARGET_URL": backend.url,
                }
            },
        )
        arn = f"arn:aws:apigateway:{aws.settings.region}:lambda:path/2015-03-31/functions/{function['FunctionArn']}"
        integration = apis.create_integration(
            ApiId=api["ApiId"],
            IntegrationType="AWS_PROXY",
            IntegrationUri=f"{arn}/invocations",
            TimeoutInMillis=29_000,
        )
        for route in ROUTES:
            target = f"integrations/{integration['IntegrationId']}"
            apis.create_route(ApiId=api["ApiId"], RouteKey=route, Target=target)
        functions.add_permission(
            FunctionName="websocket",
            StatementId="api",
            Action="lambda:InvokeFunction",
            Principal="apigateway.amazonaws.com",
            SourceArn=f"arn:aws:execute-api:{aws.settings.region}:{aws.settings.account_id}:{api['ApiId']}/*",
        )
        apis.create_stage(ApiId=api["ApiId"], StageName="live", AutoDeploy=True)
        yield f"{api['ApiEndpoint']}/live", table, backend, management
