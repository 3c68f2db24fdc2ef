"""A Lambda function with its own role, permissions and log group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cdktf import ITerraformDependable, TerraformAsset, TerraformResourceLifecycle
from constructs import Construct

from .aws import (
    CloudwatchLogGroup,
    IamRole,
    IamRolePolicy,
    LambdaAlias,
    LambdaFunction,
    LambdaPermission,
    LambdaProvisionedConcurrencyConfig,
)
from .naming import named
from .permissions import Allow, assumed_by, policy
from .settings import Architecture


@dataclass(frozen=True, slots=True)
class FunctionCode:
    """The package of all functions, with the architecture and Python that it is built for. `sha256` is base64."""

    asset: TerraformAsset
    sha256: str
    architecture: Architecture
    python: str


ALIAS = "live"

# X-Ray has no resource type for these actions.
# https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsx-ray.html
_TRACES = Allow(["xray:PutTraceSegments", "xray:PutTelemetryRecords"], ["*"])


class PythonFunction(Construct):
    """A function of `functions/<name>.py`. `arn`, `invoke_arn` and `function_name` are Terraform references.

    With `published`, each deploy that changes anything of it, a secret too, publishes a version and moves an alias
    there, which callers of `invoke_arn` invoke. So they never meet half of a deploy: Lambda changes configuration and
    code of what is not published in two calls, and between them old code runs with new variables.
    The alias is there with and without `provisioned_concurrency`, the number of environments kept started for it: what
    turns that on or off changes neither the API's integration nor its permission. Terraform deletes no version. One
    costs nothing, but counts against the account's 75 GB of code.
    https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
    """

    def __init__(
        self,
        scope: Construct,
        name: str,
        *,
        stack_name: str,
        code: FunctionCode,
        environment: Mapping[str, str],
        allows: Sequence[Allow],
        timeout_s: int,
        memory_mb: int,
        log_retention_days: int,
        description: str,
        published: bool = False,
        provisioned_concurrency: int = 0,
        tracing: bool = False,
    ) -> None:
        super().__init__(scope, f"{name}_function")
        full_name = f"{stack_name}-{name}"
        logs = named(
            CloudwatchLogGroup(self, "logs", name=f"/aws/lambda/{full_name}", retention_in_days=log_retention_days),
            name,
        )
        role = named(IamRole(self, "role", name=full_name, assume_role_policy=assumed_by("lambda")), name)
        # Lambda names streams when environments start, so no name is known here.
        writes_logs = Allow(["logs:CreateLogStream", "logs:PutLogEvents"], [f"{logs.arn}:*"])
        own_allows = [writes_logs, _TRACES] if tracing else [writes_logs]
        own_policy = policy(*allows, *own_allows)
        attached = named(IamRolePolicy(self, "policy", name="function", role=role.name, policy=own_policy), name)
        function = named(
            LambdaFunction(
                self,
                "function",
                function_name=full_name,
                description=description,
                role=role.arn,
                runtime=f"python{code.python}",
                architectures=[code.architecture],
                handler=f"functions.{name}.handler",
                filename=code.asset.path,
                source_code_hash=code.sha256,
                timeout=timeout_s,
                memory_size=memory_mb,
                environment={"variables": dict(environment)},
                logging_config={
                    "log_format": "JSON",
                    "log_group": logs.name,
                    # A line without a level counts as INFO: with a higher one the metrics in our lines would be lost.
                    "application_log_level": "INFO",
                    # Lambda logs nothing about successful invocations: our line for each event has more in fewer bytes.
                    # https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-log-level.html
                    "system_log_level": "WARN",
                },
                publish=published or None,
                tracing_config={"mode": "Active"} if tracing else None,
                depends_on=[attached],  # the first event needs the role's permissions
            ),
            name,
        )
        self._name = name
        self.arn: str = function.arn
        self.invoke_arn: str = function.invoke_arn
        self.function_name: str = function.function_name
        self._qualifier: str | None = None
        if published:
            warm = [self._keep_warm(function, provisioned_concurrency)] if provisioned_concurrency else []
            self._publish(function, warm)

    def _keep_warm(self, function: LambdaFunction, environments: int) -> LambdaProvisionedConcurrencyConfig:
        """Keep environments of the version started, not of the alias. An alias with provisioned concurrency moves
        slowly, and while it has weights for both versions AWS refuses to change the number.
        https://github.com/hashicorp/terraform-provider-aws/pull/48116
        https://gradientedge.github.io/cdk-utils/interfaces/_gradientedge_cdk-utils-aws.ProvisionedConcurrencyProps.html
        """
        config = LambdaProvisionedConcurrencyConfig(
            self,
            "provisioned_concurrency",
            function_name=function.function_name,
            qualifier=function.version,
            provisioned_concurrent_executions=environments,
            # The old version keeps its environments until the alias has left it.
            lifecycle=TerraformResourceLifecycle(create_before_destroy=True),
        )
        return named(config, self._name)

    def _publish(self, function: LambdaFunction, warm: Sequence[ITerraformDependable]) -> None:
        alias = LambdaAlias(
            self,
            "alias",
            name=ALIAS,
            function_name=function.function_name,
            function_version=function.version,
            depends_on=warm or None,  # it moves when the new version's environments have started
        )
        named(alias, self._name)
        self.invoke_arn = alias.invoke_arn
        self._qualifier = alias.name

    def allow_api(self, source_arn: str) -> ITerraformDependable:
        """Let API Gateway invoke the function from the routes that `source_arn` matches.

        An integration that depends on the result exists only while it may invoke the function.
        """
        permission = LambdaPermission(
            self,
            "permission",
            statement_id=f"{self._name}-api",
            action="lambda:InvokeFunction",
            function_name=self.function_name,
            qualifier=self._qualifier,
            principal="apigateway.amazonaws.com",
            source_arn=source_arn,
        )
        return named(permission, self._name)
