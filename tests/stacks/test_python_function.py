"""The three functions: their code, environment and role."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from slip_sockets.aws.environment import FunctionSettings
from slip_sockets.dialects import Dialect

from .synthesis import FUNCTIONS, PRODUCTION, STAGING, Stack, Synthesis

MANAGEMENT_URL = '${replace(aws_apigatewayv2_api.websocket.api_endpoint, "/^ws/", "http")}/live'
TIMEOUTS_S = {"websocket": 29, "control": 29, "deliver": 60}


class Recording(Mapping[str, str]):
    """An environment that records which variables are read."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self.read: set[str] = set()
        self._variables = variables

    def __getitem__(self, name: str) -> str:
        self.read.add(name)
        return self._variables[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._variables)

    def __len__(self) -> int:
        return len(self._variables)


@pytest.mark.parametrize("name", FUNCTIONS)
class TestEach:
    def test_runs_its_handler_on_the_architecture_and_python_of_the_settings(self, stack: Stack, name: str) -> None:
        function = stack.resource("lambda_function", name)
        assert function["handler"] == f"functions.{name}.handler"
        assert (function["runtime"], function["architectures"]) == ("python3.13", ["arm64"])
        assert function["timeout"] == TIMEOUTS_S[name]
        assert function["memory_size"] == 512

    def test_has_a_role_that_only_lambda_may_assume(self, stack: Stack, name: str) -> None:
        assert stack.resource("lambda_function", name)["role"] == f"${{aws_iam_role.{name}.arn}}"
        assert stack.resource("iam_role_policy", name)["role"] == f"${{aws_iam_role.{name}.name}}"
        assert json.loads(stack.resource("iam_role", name)["assume_role_policy"]) == {
            "Version": "2012-10-17",
            "Statement": [
                {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "lambda.amazonaws.com"}}
            ],
        }

    def test_starts_only_when_its_role_is_ready(self, stack: Stack, name: str) -> None:
        assert stack.resource("lambda_function", name)["depends_on"] == [f"aws_iam_role_policy.{name}"]

    def test_logs_json_to_its_own_group_for_90_days(self, stack: Stack, name: str) -> None:
        assert stack.resource("lambda_function", name)["logging_config"] == {
            "log_format": "JSON",
            "log_group": f"${{aws_cloudwatch_log_group.{name}.name}}",
            "application_log_level": "INFO",
            "system_log_level": "WARN",
        }
        group = stack.resource("cloudwatch_log_group", name)
        function_name = stack.resource("lambda_function", name)["function_name"]
        assert group["name"] == f"/aws/lambda/{function_name}"
        assert group["retention_in_days"] == 90

    def test_has_the_environment_that_it_reads_and_nothing_else(self, stack: Stack, name: str) -> None:
        environment = Recording(stack.environment(name))
        assert FunctionSettings.from_environ(environment) == FunctionSettings(
            target_url="https://app.example/slip",
            connections_table="${aws_dynamodb_table.Connections.name}",
            channels_table="${aws_dynamodb_table.Channels.name}",
            queue_url="${aws_sqs_queue.deferred.url}",
            inbound_queue_url="${aws_sqs_queue.inbound.url}",
            dead_letters_url="${aws_sqs_queue.dead_letters.url}",
            management_url=MANAGEMENT_URL,
            jwt_secret_arn="${aws_secretsmanager_secret.jwt_secrets.arn}",
            jwt_secret_version="${aws_secretsmanager_secret_version.jwt_secrets.version_id}",
            inline_limit=1_000,
            fan_out_rate=8_000,
            stack_name=stack.folder.name,
        )
        assert set(environment) == environment.read - {"TIMERS_QUEUE_URL"}  # which other settings have


@pytest.mark.parametrize("name", FUNCTIONS)
def test_all_know_that_texts_come_in_order(synth: Callable[..., Synthesis], name: str) -> None:
    in_order = synth(INBOUND="ordered", INBOUND_RETRY_S="15").stack(PRODUCTION)
    read = FunctionSettings.from_environ(in_order.environment(name))
    assert (read.is_ordered, read.inbound_retry_s) == (True, 15)
    in_grip = synth(BACKEND_PROTOCOL="grip", GRIP_PATH_FROM="host", GRIP_HOST="a.example").stack(PRODUCTION)
    read = FunctionSettings.from_environ(in_grip.environment(name))
    assert (read.is_ordered, read.backend_protocol) == (True, Dialect.GRIP)
    assert (read.grip_path_from, read.grip_host) == ("host", "a.example")


def test_all_run_the_same_package(stack: Stack) -> None:
    functions = [stack.resource("lambda_function", name) for name in FUNCTIONS]
    (path,) = {function["filename"] for function in functions}
    (sha256,) = {function["source_code_hash"] for function in functions}
    assert (stack.folder / path).is_file()
    assert len(sha256) == 44


def arguments(stack: Stack, type_: str, name: str = "websocket") -> dict[str, Any]:
    """Return the arguments of a function's resource, without CDKTF's comments."""
    return {name: value for name, value in stack.resource(type_, name).items() if name != "//"}


class TestPublished:
    """The functions that an API invokes."""

    @pytest.mark.parametrize("name", ["websocket", "control"])
    def test_a_version_is_published_and_the_alias_leads_to_it(self, stack: Stack, name: str) -> None:
        assert stack.resource("lambda_function", name)["publish"] is True
        assert arguments(stack, "lambda_alias", name) == {
            "name": "live",
            "function_name": f"${{aws_lambda_function.{name}.function_name}}",
            "function_version": f"${{aws_lambda_function.{name}.version}}",
        }

    @pytest.mark.parametrize("name", ["websocket", "control"])
    def test_the_api_invokes_the_alias_and_only_while_it_may(self, stack: Stack, name: str) -> None:
        integration = stack.resource("apigatewayv2_integration", name)
        assert integration["integration_uri"] == f"${{aws_lambda_alias.{name}.invoke_arn}}"
        assert integration["depends_on"] == [f"aws_lambda_permission.{name}"]
        assert stack.resource("lambda_permission", name)["qualifier"] == f"${{aws_lambda_alias.{name}.name}}"

    def test_the_function_of_the_queue_is_not(self, stack: Stack) -> None:
        """A message that meets half of a deploy is tried again."""
        assert "publish" not in stack.resource("lambda_function", "deliver")
        assert stack.config["resource"]["aws_lambda_alias"].keys() == {"websocket", "control"}


class TestKeptWarm:
    """PROVISIONED_CONCURRENCY, for production alone."""

    @pytest.fixture
    def warm(self, synth: Callable[..., Synthesis]) -> Stack:
        return synth(PRODUCTION_PROVISIONED_CONCURRENCY="2").stack(PRODUCTION)

    def test_that_number_of_environments_of_the_version_is_kept_warm(self, warm: Stack) -> None:
        """Not of the alias, which would have routing weights while it moves."""
        assert arguments(warm, "lambda_provisioned_concurrency_config") == {
            "function_name": "${aws_lambda_function.websocket.function_name}",
            "qualifier": "${aws_lambda_function.websocket.version}",
            "provisioned_concurrent_executions": 2,
            "lifecycle": {"create_before_destroy": True},
        }

    def test_the_alias_moves_when_they_have_started(self, warm: Stack) -> None:
        assert warm.resource("lambda_alias", "websocket")["depends_on"] == [
            "aws_lambda_provisioned_concurrency_config.websocket"
        ]

    def test_only_the_function_that_clients_wait_for_is_kept_warm(self, warm: Stack) -> None:
        assert warm.config["resource"]["aws_lambda_provisioned_concurrency_config"].keys() == {"websocket"}

    def test_turning_it_on_changes_nothing_else(
        self, synth: Callable[..., Synthesis], warm: Stack, defaults: Synthesis
    ) -> None:
        """So that it is no outage: neither integration nor permission is replaced."""
        resources = warm.config["resource"]
        del resources["aws_lambda_provisioned_concurrency_config"]
        del resources["aws_lambda_alias"]["websocket"]["depends_on"]
        assert warm.config == defaults.stack(PRODUCTION).config
        staging = synth(PRODUCTION_PROVISIONED_CONCURRENCY="2").stack(STAGING)
        assert staging.config == defaults.stack(STAGING).config
