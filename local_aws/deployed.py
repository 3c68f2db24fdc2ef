"""What was deployed through the AWS APIs: functions, APIs, mappings and policies, read from moto's models.

Only this module, `moto_patches` and `fifo_queues` know moto's models. Its methods run in moto's thread (`AwsApis.run`).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC
from typing import Any

from moto.awslambda.exceptions import UnknownFunctionException
from moto.backends import get_backend

from .fifo_queues import FifoQueue
from .provisioned_concurrency import ProvisionedConcurrency

Statement = dict[str, Any]
"""A statement of a policy document."""

_FUNCTION_ARN = re.compile(
    r"(?P<unqualified>arn:aws:lambda:(?P<region>[^:]+):\d+:function:(?P<name>[^:/]+))(?::(?P<qualifier>[^:/]+))?"
)
LATEST = "$LATEST"
"""The version that is not published."""


@dataclass(frozen=True, slots=True)
class Function:
    """A version of a Lambda function, with its own ARN if it is published. Two that are equal run the same code in the
    same way."""

    arn: str
    name: str
    version: str
    region: str
    handler: str
    runtime: str
    architecture: str
    role_arn: str
    timeout_s: int
    memory_mb: int
    environment: Mapping[str, str]
    code_sha256: str
    log_group: str
    log_format: str
    code: bytes = field(compare=False, repr=False)
    policy: Sequence[Statement] = field(compare=False, repr=False)
    """The resource policy of the ARN that it was found by: principals that may invoke it by that."""


@dataclass(frozen=True, slots=True)
class Integration:
    """Of any type but AWS and MOCK. `function_arn` is None where it does not integrate a Lambda function."""

    function_arn: str | None
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Templates:
    """Mapping templates by key, and the expression that selects one."""

    by_key: Mapping[str, str]
    selection_expression: str | None


@dataclass(frozen=True, slots=True)
class ServiceIntegration:
    """An integration of type AWS, with the names that API Gateway has for its parts."""

    uri: str
    credentials_arn: str | None
    request_parameters: Mapping[str, str]
    request_templates: Templates
    passthrough_behavior: str
    timeout_s: float


@dataclass(frozen=True, slots=True)
class IntegrationResponse:
    """`key` is `$default`, or an expression between slashes."""

    key: str
    templates: Templates


@dataclass(frozen=True, slots=True)
class MockIntegration:
    """An integration of type MOCK."""

    request_templates: Templates
    passthrough_behavior: str
    responses: Sequence[IntegrationResponse]


@dataclass(frozen=True, slots=True)
class Route:
    """`integration` is None where it has none."""

    integration: Integration | ServiceIntegration | MockIntegration | None
    response_selection: str | None
    has_response: bool


Routes = Mapping[str, Route]
"""By route key."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage of an API, with its routes and its stage variables."""

    api_id: str
    protocol: str
    region: str
    name: str
    routes: Routes
    variables: Mapping[str, str]
    auto_deploys: bool
    route_selection: str
    throttling_rate: float
    throttling_burst: float
    """How many requests a second it takes, and how many at once; without its own limits, what the account does."""

    @property
    def is_throttled(self) -> bool:
        """Whether it takes no requests at all."""
        return self.throttling_rate == 0 or self.throttling_burst == 0


@dataclass(frozen=True, slots=True)
class QueueMapping:
    """An enabled event source mapping of an SQS queue."""

    uuid: str
    function_arn: str
    queue_arn: str
    queue_url: str
    region: str
    batch_size: int
    reports_failures: bool
    max_concurrency: int | None
    visibility_timeout_s: float


class Deployed:
    """The state of one account. `logging` has the LoggingConfig of functions, which moto does not keep."""

    def __init__(
        self,
        account_id: str,
        url: str,
        logging: Mapping[tuple[str, str], Mapping[str, str]],
        provisioned: ProvisionedConcurrency,
    ) -> None:
        self._account_id = account_id
        self._url = url
        self._logging = logging
        self._provisioned = provisioned

    def function(self, arn: str) -> Function | None:
        """Return what runs where `arn` is invoked, which may name a version or an alias; None if nothing does."""
        match = _FUNCTION_ARN.match(arn)
        if match is None:
            return None
        region, name, qualifier = match["region"], match["name"], match["qualifier"] or LATEST
        version = self._provisioned.old_version((region, name, qualifier)) or qualifier
        try:
            found = self._backend("lambda", region).get_function(name, version)
        except UnknownFunctionException:
            return None
        logging = self._logging.get((region, name), {})
        policy_of = arn if match["qualifier"] not in (None, LATEST) else match["unqualified"]
        return Function(
            arn=found.function_arn,
            name=name,
            version=str(found.version),
            region=region,
            handler=found.handler,
            runtime=found.run_time,
            architecture=found.architectures[0],
            role_arn=found.role,
            timeout_s=int(found.timeout),
            memory_mb=int(found.memory_size),
            environment=dict(found.environment_vars),
            code_sha256=found.code_sha_256,
            log_group=logging.get("LogGroup", f"/aws/lambda/{match['name']}"),
            log_format=logging.get("LogFormat", "Text"),
            code=found.code_bytes,
            policy=[statement for statement in found.policy.statements if statement["Resource"] == policy_of],
        )

    def is_in_use(self, arn: str) -> bool:
        """Return whether `arn` is of an unpublished version, or an alias leads to its version."""
        match = _FUNCTION_ARN.match(arn)
        if match is None or match["qualifier"] is None:
            return True
        region, name = match["region"], match["name"]
        return any(
            match["qualifier"] in (alias.function_version, *self._provisioned.weights((region, name, alias.name)))
            for alias in self._backend("lambda", region).list_aliases(name)
        )

    def function_of_url(self, url_id: str) -> Function | None:
        """Return the function that a URL with AuthType NONE leads to."""
        for backend in list(get_backend("lambda")[self._account_id].values()):
            for found in list(backend._lambdas.latest()):
                config = found.url_config
                if config is not None and config.config.get("AuthType") == "NONE" and f"/{url_id}." in config.url:
                    return self.function(found.function_arn)
        return None

    def api_protocol(self, api_id: str) -> str | None:
        """Return `WEBSOCKET` or `HTTP`; None where there is no such API."""
        found = self._api(api_id)
        return None if found is None else str(found[1].protocol_type)

    def stage(self, api_id: str, name: str) -> Stage | None:
        """Return None where the API or the stage does not exist, or nothing was deployed to the stage."""
        found = self._api(api_id)
        if found is None:
            return None
        region, api = found
        stage = api.stages.get(name)
        if stage is None or not (stage.auto_deploy or stage.config.get("deploymentId")):
            return None
        settings = stage.default_route_settings or {}
        rate, burst = settings.get("throttlingRateLimit"), settings.get("throttlingBurstLimit")
        return Stage(
            api_id=api_id,
            protocol=api.protocol_type,
            region=region,
            name=name,
            routes=self._routes_of(api),
            variables=dict(stage.stage_variables or {}),
            auto_deploys=bool(stage.auto_deploy),
            route_selection=api.route_selection_expression,
            throttling_rate=math.inf if rate is None else float(rate),
            throttling_burst=math.inf if burst is None else float(burst),
        )

    def secret_key(self, key_id: str) -> tuple[str, str, float] | None:
        """Return secret, session token and expiry (Unix seconds) of an active key of a user or of an assumed role."""
        for user in list(self._backend("iam", "aws").users.values()):
            for key in user.access_keys:
                if key.access_key_id == key_id and key.status == "Active":
                    return key.secret_access_key, "", float("inf")
        for role in list(self._backend("sts", "aws").assumed_roles):
            if role.access_key_id == key_id:
                return role.secret_access_key, role.session_token, role.expiration.replace(tzinfo=UTC).timestamp()
        return None

    def routes(self, api_id: str) -> Routes:
        """Return an API's routes; none where it does not exist."""
        found = self._api(api_id)
        return {} if found is None else self._routes_of(found[1])

    def waiting_mappings(self) -> list[QueueMapping]:
        """Return the mappings that have messages to feed to their functions."""
        return [mapping for mapping in self._queue_mappings() if self.has_visible_messages(mapping)]

    def has_visible_messages(self, mapping: QueueMapping) -> bool:
        """Cheaper than ReceiveMessage."""
        queue = self._backend("sqs", mapping.region).queues.get(mapping.queue_arn.rpartition(":")[2])
        if isinstance(queue, FifoQueue):
            return queue.has_deliverable()
        return queue is not None and bool(queue.messages)

    def trust(self, role_arn: str) -> list[Statement] | None:
        """Return the statements of a role's trust policy; None where the role does not exist."""
        for role in list(self._backend("iam", "aws").roles.values()):
            if role.arn == role_arn:
                return _statements(json.loads(role.assume_role_policy_document))
        return None

    def policies(self, role_arn: str) -> list[Statement]:
        """Return the statements of all identity policies of a role; an empty list where the role does not exist."""
        for role in list(self._backend("iam", "aws").roles.values()):
            if role.arn == role_arn:
                managed = (policy.versions for policy in role.managed_policies.values())
                attached = (version.document for versions in managed for version in versions if version.is_default)
                documents = map(json.loads, (*role.policies.values(), *attached))
                return [statement for document in documents for statement in _statements(document)]
        return []

    def role_arn(self, name: str) -> str | None:
        return next(
            (str(role.arn) for role in list(self._backend("iam", "aws").roles.values()) if role.name == name), None
        )

    def user(self, key_id: str) -> tuple[str, list[Statement]] | None:
        """Return the ARN of an access key's user, and the statements of its policies; None for other keys."""
        iam = self._backend("iam", "aws")
        for user in list(iam.users.values()):
            if any(key.access_key_id == key_id for key in user.access_keys):
                managed = (policy.versions for policy in user.managed_policies.values())
                attached = (version.document for versions in managed for version in versions if version.is_default)
                documents = map(json.loads, (*user.policies.values(), *attached))
                return user.arn, [statement for document in documents for statement in _statements(document)]
        return None

    def _queue_mappings(self) -> Iterator[QueueMapping]:
        for region, backend in list(get_backend("lambda")[self._account_id].items()):
            for mapping in list(backend._event_source_mappings.values()):
                service, name = mapping.event_source_arn.split(":")[2::3]
                if mapping.enabled and service == "sqs":
                    queue = self._backend("sqs", region).queues.get(name)
                    yield QueueMapping(
                        uuid=mapping.uuid,
                        function_arn=mapping.function_arn,
                        queue_arn=mapping.event_source_arn,
                        queue_url=f"{self._url}/{self._account_id}/{name}",
                        region=region,
                        batch_size=mapping.batch_size,
                        reports_failures="ReportBatchItemFailures" in (mapping.function_response_types or []),
                        max_concurrency=(mapping.scaling_config or {}).get("MaximumConcurrency"),
                        visibility_timeout_s=0 if queue is None else float(queue.visibility_timeout),
                    )

    def _api(self, api_id: str) -> tuple[str, Any] | None:
        for region, backend in list(get_backend("apigatewayv2")[self._account_id].items()):
            if api_id in backend.apis:
                return region, backend.apis[api_id]
        return None

    def _routes_of(self, api: Any) -> Routes:
        return {
            route.route_key: Route(
                self._integration(api, route.target),
                route.route_response_selection_expression,
                bool(route.route_responses),
            )
            for route in api.routes.values()
        }

    def _integration(self, api: Any, target: str | None) -> Integration | ServiceIntegration | MockIntegration | None:
        integration = api.integrations.get((target or "").removeprefix("integrations/"))
        if integration is None:
            return None
        timeout_s = integration.timeout_in_millis / 1000
        templates = Templates(dict(integration.request_templates or {}), integration.template_selection_expression)
        match integration.integration_type:
            case "AWS":
                return ServiceIntegration(
                    uri=integration.integration_uri or "",
                    credentials_arn=integration.credentials_arn,
                    request_parameters=dict(integration.request_parameters or {}),
                    request_templates=templates,
                    passthrough_behavior=integration.passthrough_behavior,
                    timeout_s=timeout_s,
                )
            case "MOCK":
                responses = [
                    IntegrationResponse(
                        response.integration_response_key,
                        Templates(dict(response.response_templates or {}), response.template_selection_expression),
                    )
                    for response in integration.responses.values()
                ]
                return MockIntegration(templates, integration.passthrough_behavior, responses)
        match = _FUNCTION_ARN.search(integration.integration_uri or "")
        is_lambda = match is not None and integration.integration_type == "AWS_PROXY"
        return Integration(match[0] if match and is_lambda else None, timeout_s)

    def _backend(self, service: Any, region: str) -> Any:
        """Return a backend of moto, which has no useful types."""
        return get_backend(service)[self._account_id][region]


def _statements(document: dict[str, Any]) -> list[Statement]:
    """Return a list: a policy document may hold one statement or a list."""
    statements = document.get("Statement", [])
    return statements if isinstance(statements, list) else [statements]
