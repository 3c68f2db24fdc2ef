"""One deployment: all resources of one stage."""

from __future__ import annotations

from collections.abc import Mapping

from cdktf import AssetType, LocalBackend, S3Backend, TerraformAsset, TerraformOutput, TerraformStack
from constructs import Construct

from slip_sockets.dialects import Dialect
from slip_sockets.gateway.worker import Inbound
from slip_sockets.grip.tokens import grip_url

from .alarms import Alarms
from .aws import AwsProvider, AwsProviderDefaultTags, LambdaEventSourceMapping
from .channels_table import ChannelsTable
from .connections_table import ConnectionsTable
from .control_api import ControlApi
from .custom_domain import CustomDomain
from .dashboard import Dashboard
from .deferred_queue import DELIVER_TIMEOUT_S, DeferredQueue
from .function_package import FunctionPackage
from .inbound_queue import InboundQueue
from .jwt_secrets import JwtSecrets
from .metrics import Metrics
from .naming import named
from .permissions import Allow
from .python_function import FunctionCode, PythonFunction
from .settings import StageSettings
from .timers_queue import RETENTION_S, SWEEP_RETENTION_S, TimersQueue
from .websocket_api import WebSocketApi

MEMORY_MB = 512
"""The smallest at which a publish to INLINE_LIMIT subscribers over new TLS connections takes less than half a second:
docs/speed.md has the table. Processor time comes with memory, 1,769 MB are one core.
https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html"""
INTEGRATION_TIMEOUT_S = 29
"""API Gateway waits for the WebSocket API's function no longer than this. After 25 s for the backend 4 s are left."""
INBOUND_BATCH = TIMERS_BATCH = 10
"""The largest of a FIFO queue. https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html"""
MIN_TERRAFORM = "1.11"
"""https://github.com/hashicorp/terraform/blob/v1.11/CHANGELOG.md"""

# A backend may reply to any event with any action, and the function that called it performs the action. So all
# functions need these; the end-to-end tests hold that each function uses each of them.
_CONNECTIONS_ACTIONS = (
    "dynamodb:BatchGetItem",
    "dynamodb:BatchWriteItem",
    "dynamodb:ConditionCheckItem",  # with PutItem, the two parts of a transaction
    "dynamodb:DeleteItem",
    "dynamodb:GetItem",
    "dynamodb:PutItem",
    "dynamodb:Query",
    "dynamodb:UpdateItem",
)
_CHANNELS_ACTIONS = (
    "dynamodb:BatchGetItem",
    "dynamodb:BatchWriteItem",
    "dynamodb:GetItem",
    "dynamodb:PutItem",
    "dynamodb:Query",
    "dynamodb:UpdateItem",
)


class SlipSocketsStack(TerraformStack):
    """A stage of SLIP Sockets. `secrets` has the values of Terraform variables that no committed file may hold."""

    def __init__(self, scope: Construct, settings: StageSettings, package: FunctionPackage) -> None:
        super().__init__(scope, settings.stack_name)
        self._settings = settings
        self._is_grip = settings.backend_protocol is Dialect.GRIP
        self._keep_state()
        # The S3 backend's `use_lockfile`, and write-only arguments such as the secret's.
        self.add_override("terraform.required_version", f">= {MIN_TERRAFORM}")
        tags = {"Application": "slip-sockets", "Stack": settings.stack_name, "Stage": settings.stage}
        AwsProvider(self, "aws", region=settings.region, default_tags=[AwsProviderDefaultTags(tags=tags)])
        self._connections = ConnectionsTable(
            self,
            "connections",
            name=f"{settings.stack_name}-Connections",
            deletion_protection=settings.deletion_protection,
        )
        self._channels = ChannelsTable(
            self,
            "channels",
            name=f"{settings.stack_name}-Channels",
            deletion_protection=settings.deletion_protection,
        )
        self._queue = DeferredQueue(
            self, "queue", stack_name=settings.stack_name, deletion_protection=settings.deletion_protection
        )
        self._inbound = InboundQueue(
            self,
            "inbound_queue",
            stack_name=settings.stack_name,
            dead_letters_arn=self._queue.dead_letters_arn,
            deletion_protection=settings.deletion_protection,
        )
        self._timers = self._timers_queue()
        self.secrets = JwtSecrets(
            self,
            "secrets",
            stack_name=settings.stack_name,
            jwt_secret=settings.jwt_secret,
            previous_secrets=settings.previous_secrets,
        )
        access_log_retention_days = settings.log_retention_days if settings.access_logs else None
        self._sockets = WebSocketApi(
            self,
            "websocket_api",
            stack_name=settings.stack_name,
            throttling_rate_limit=settings.throttling_rate_limit,
            throttling_burst_limit=settings.throttling_burst_limit,
            access_log_retention_days=access_log_retention_days,
        )
        self._code = self._function_code(package)
        websocket = self._websocket_function()
        self._sockets.route_to(websocket, self._inbound, ordered=settings.inbound is Inbound.ORDERED)
        control_function = self._control_function()
        control = ControlApi(
            self,
            "control_api",
            stack_name=settings.stack_name,
            function=control_function,
            throttling_rate_limit=settings.throttling_rate_limit,
            throttling_burst_limit=settings.throttling_burst_limit,
            access_log_retention_days=access_log_retention_days,
        )
        deliver = self._deliver_function()
        # One, because a message may take nearly the function's whole timeout. Message groups run side by side.
        self._deliver_from("deliver", self._queue.arn, deliver, batch_size=1)
        # A connection's texts go to the backend together; other connections' beside them.
        self._deliver_from("inbound", self._inbound.arn, deliver, batch_size=INBOUND_BATCH)
        if self._timers is not None:
            self._deliver_from("timers", self._timers.arn, deliver, batch_size=TIMERS_BATCH)
        self._monitor(control, {"websocket": websocket, "control": control_function, "deliver": deliver})
        if settings.domain_name and settings.hosted_zone_name:
            CustomDomain(
                self,
                "domain",
                domain_name=settings.domain_name,
                hosted_zone_name=settings.hosted_zone_name,
                api=self._sockets,
            )
        outputs = {
            "controlApi": control.url,
            "targetUrl": settings.target_url,
            "websocketUrl": settings.websocket_url or self._sockets.url,
            "region": settings.region,
        }
        if self._is_grip:
            outputs["gripUrl"] = grip_url(control.url)
        for name, value in outputs.items():
            TerraformOutput(self, name, value=value)

    def _keep_state(self) -> None:
        name = self.node.id
        if self._settings.state_bucket is None:
            # Beside main.py, wherever that is: Terraform runs in cdktf.out/stacks/<name>.
            LocalBackend(self, path=f"../../../terraform.{name}.tfstate")
        else:
            backend = S3Backend(
                self,
                bucket=self._settings.state_bucket,
                key=f"{name}.tfstate",
                region=self._settings.region,
                encrypt=True,
            )
            backend.add_override("use_lockfile", True)

    def _timers_queue(self) -> TimersQueue | None:
        if not (self._is_grip or self._settings.occupancy_events):
            return None
        retention_s = RETENTION_S if self._is_grip else SWEEP_RETENTION_S
        return TimersQueue(self, "timers_queue", stack_name=self._settings.stack_name, retention_s=retention_s)

    def _function_code(self, package: FunctionPackage) -> FunctionCode:
        asset = TerraformAsset(
            self, "functions", path=str(package.path), type=AssetType.FILE, asset_hash=package.sha256_hex
        )
        return FunctionCode(asset, package.sha256_base64, self._settings.architecture, self._settings.python)

    def _websocket_function(self) -> PythonFunction:
        return self._function(
            "websocket",
            "Sends connects, text messages and disconnects to the backend, performs its replies",
            timeout_s=INTEGRATION_TIMEOUT_S,
            allows=[
                self._sockets.manages("POST", "DELETE"),
                Allow(["sqs:SendMessage"], [self._inbound.arn]),  # what has to be done before a connection's first text
                *(self._of_timers("sqs:SendMessage") if self._is_grip else []),  # a reply to OPEN may begin some
            ],
            published=True,
            provisioned_concurrency=self._settings.provisioned_concurrency,  # clients wait for this function alone
        )

    def _control_function(self) -> PythonFunction:
        return self._function(
            "control",
            "The control API: publishes, sends, closes",
            timeout_s=INTEGRATION_TIMEOUT_S,
            allows=[self._sockets.manages("POST", "DELETE", "GET")],  # GET is POLL_FOR_CONNECTION's
            published=True,
        )

    def _deliver_function(self) -> PythonFunction:
        receives = (
            "sqs:ChangeMessageVisibility",
            "sqs:DeleteMessage",
            "sqs:GetQueueAttributes",
            "sqs:ReceiveMessage",
        )
        return self._function(
            "deliver",
            "Performs deferred messages, and sends what waits of clients to the backend",
            timeout_s=DELIVER_TIMEOUT_S,
            allows=[
                self._sockets.manages("POST", "DELETE", *(["GET"] if self._is_grip else [])),  # GET: is a client idle?
                Allow(receives, [self._queue.arn, self._inbound.arn]),
                Allow(["sqs:SendMessage"], [self._queue.dead_letters_arn]),  # texts that the backend does not take
                Allow(["sqs:SendMessage"], [self._inbound.arn]),  # a numbered text that came before its forerunner
                Allow(["dynamodb:DeleteItem"], [self._channels.arn]),  # a member that has left is forgotten
                *self._of_timers("sqs:SendMessage", *receives),
            ],
        )

    def _of_timers(self, *actions: str) -> list[Allow]:
        return [] if self._timers is None else [Allow(actions, [self._timers.arn])]

    def _function(
        self,
        name: str,
        description: str,
        *,
        timeout_s: int,
        allows: list[Allow],
        published: bool = False,
        provisioned_concurrency: int = 0,
    ) -> PythonFunction:
        return PythonFunction(
            self,
            name,
            stack_name=self._settings.stack_name,
            code=self._code,
            description=description,
            timeout_s=timeout_s,
            memory_mb=MEMORY_MB,
            log_retention_days=self._settings.log_retention_days,
            published=published,
            provisioned_concurrency=provisioned_concurrency,
            tracing=self._settings.tracing,
            environment={
                "STACK_NAME": self._settings.stack_name,
                "TARGET_URL": self._settings.target_url,
                "CONNECTIONS_TABLE": self._connections.name,
                "CHANNELS_TABLE": self._channels.name,
                "QUEUE_URL": self._queue.url,
                "DEAD_LETTERS_URL": self._queue.dead_letters_url,
                "BACKEND_PROTOCOL": self._settings.backend_protocol,
                "GRIP_PATH_FROM": self._settings.grip_path_from,
                "GRIP_HOST": self._settings.grip_host,
                "OCCUPANCY_EVENTS": "true" if self._settings.occupancy_events else "false",
                "INBOUND": self._settings.inbound,
                "INBOUND_QUEUE_URL": self._inbound.url,
                "INBOUND_RETRY_S": str(self._settings.inbound_retry_s),
                "MANAGEMENT_URL": self._sockets.management_url,
                "INLINE_LIMIT": str(self._settings.inline_limit),
                "FAN_OUT_RATE": str(self._settings.fan_out_rate),
                **({} if self._timers is None else {"TIMERS_QUEUE_URL": self._timers.url}),
                **self.secrets.environment,
            },
            allows=[
                Allow(_CONNECTIONS_ACTIONS, [self._connections.arn]),
                Allow(["dynamodb:Query"], [self._connections.index_arn]),
                Allow(_CHANNELS_ACTIONS, [self._channels.arn]),
                Allow(["sqs:SendMessage"], [self._queue.arn]),
                Allow(["secretsmanager:GetSecretValue"], [self.secrets.arn]),
                *allows,
            ],
        )

    def _monitor(self, control: ControlApi, functions: Mapping[str, PythonFunction]) -> None:
        metrics = Metrics(
            stack_name=self._settings.stack_name,
            websocket_api_id=self._sockets.api_id,
            websocket_stage=self._sockets.stage_name,
            control_api_id=control.api_id,
            functions={name: function.function_name for name, function in functions.items()},
            connections_table=self._connections.name,
            channels_table=self._channels.name,
            queue_name=self._queue.name,
            dead_letters_name=self._queue.dead_letters_name,
            inbound_name=self._inbound.name,
        )
        region, ordered = self._settings.region, self._settings.inbound is Inbound.ORDERED
        alarms = Alarms(
            self,
            "alarms",
            metrics=metrics,
            email=self._settings.alarm_email,
            region=region,
            inbound_retry_s=self._settings.inbound_retry_s if ordered else None,
        )
        Dashboard(self, "dashboard", metrics=metrics, alarm_arns=alarms.arns, region=region, ordered=ordered)

    def _deliver_from(self, name: str, queue_arn: str, function: PythonFunction, *, batch_size: int) -> None:
        mapping = LambdaEventSourceMapping(
            self,
            f"{name}_from_queue",
            event_source_arn=queue_arn,
            function_name=function.arn,
            batch_size=batch_size,
            function_response_types=["ReportBatchItemFailures"],
            # Leaves the account's concurrency to connects and publishes during a fan-out.
            scaling_config={"maximum_concurrency": self._settings.deliver_concurrency},
        )
        named(mapping, name)
