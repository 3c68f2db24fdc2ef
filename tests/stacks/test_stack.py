"""Both stages as a whole: their resources, their differences, their outputs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from .synthesis import FUNCTIONS, PRODUCTION, STAGING, Stack, Synthesis

ADDRESSES = [
    "aws_apigatewayv2_api.control",
    "aws_apigatewayv2_api.websocket",
    "aws_apigatewayv2_integration.control",
    "aws_apigatewayv2_integration.inbound_disconnect",
    "aws_apigatewayv2_integration.inbound_text",
    "aws_apigatewayv2_integration.ping",
    "aws_apigatewayv2_integration.websocket",
    "aws_apigatewayv2_integration_response.ping",
    "aws_apigatewayv2_route.connect",
    "aws_apigatewayv2_route.control",
    "aws_apigatewayv2_route.control_root",
    "aws_apigatewayv2_route.default",
    "aws_apigatewayv2_route.disconnect",
    "aws_apigatewayv2_route.ping",
    "aws_apigatewayv2_route_response.ping",
    "aws_apigatewayv2_stage.control",
    "aws_apigatewayv2_stage.live",
    "aws_cloudwatch_dashboard.dashboard",
    "aws_cloudwatch_log_group.control",
    "aws_cloudwatch_log_group.deliver",
    "aws_cloudwatch_log_group.websocket",
    "aws_cloudwatch_metric_alarm.backend_failing",
    "aws_cloudwatch_metric_alarm.control_api_failing",
    "aws_cloudwatch_metric_alarm.control_errors",
    "aws_cloudwatch_metric_alarm.control_throttles",
    "aws_cloudwatch_metric_alarm.dead_letters",
    "aws_cloudwatch_metric_alarm.deferred_age",
    "aws_cloudwatch_metric_alarm.deliver_errors",
    "aws_cloudwatch_metric_alarm.queue_age",
    "aws_cloudwatch_metric_alarm.sockets_failing",
    "aws_cloudwatch_metric_alarm.table_throttles",
    "aws_cloudwatch_metric_alarm.websocket_errors",
    "aws_cloudwatch_metric_alarm.websocket_throttles",
    "aws_dynamodb_table.Channels",
    "aws_dynamodb_table.Connections",
    "aws_iam_role.control",
    "aws_iam_role.deliver",
    "aws_iam_role.inbound",
    "aws_iam_role.websocket",
    "aws_iam_role_policy.control",
    "aws_iam_role_policy.deliver",
    "aws_iam_role_policy.inbound",
    "aws_iam_role_policy.websocket",
    "aws_lambda_alias.control",
    "aws_lambda_alias.websocket",
    "aws_lambda_event_source_mapping.deliver",
    "aws_lambda_event_source_mapping.inbound",
    "aws_lambda_function.control",
    "aws_lambda_function.deliver",
    "aws_lambda_function.websocket",
    "aws_lambda_permission.control",
    "aws_lambda_permission.websocket",
    "aws_secretsmanager_secret.jwt_secrets",
    "aws_secretsmanager_secret_version.jwt_secrets",
    "aws_sns_topic.alarms",
    "aws_sns_topic_policy.alarms",
    "aws_sqs_queue.dead_letters",
    "aws_sqs_queue.deferred",
    "aws_sqs_queue.inbound",
]
ADDRESSES_OF_ORDERED = [
    "aws_cloudwatch_metric_alarm.inbound_age",
    "aws_cloudwatch_metric_alarm.inbound_queue_age",
]
ADDRESSES_OF_OPTIONS = [
    "aws_acm_certificate.websocket",
    "aws_acm_certificate_validation.websocket",
    "aws_apigatewayv2_api_mapping.websocket",
    "aws_apigatewayv2_domain_name.websocket",
    "aws_cloudwatch_log_group.control_access",
    "aws_cloudwatch_log_group.websocket_access",
    "aws_route53_record.validation",
    "aws_route53_record.websocket",
    "aws_sns_topic_subscription.alarm_mail",
    "data.aws_route53_zone.zone",
]


def test_addresses_are_in_the_fields_words(stack: Stack) -> None:
    assert stack.addresses() == ADDRESSES


def test_addresses_with_all_options(all_options: Synthesis) -> None:
    for name in (STAGING, PRODUCTION):
        assert sorted(all_options.stack(name).addresses()) == sorted(ADDRESSES + ADDRESSES_OF_OPTIONS)


def test_addresses_with_texts_in_order(ordered: Synthesis) -> None:
    for name in (STAGING, PRODUCTION):
        assert sorted(ordered.stack(name).addresses()) == sorted(ADDRESSES + ADDRESSES_OF_ORDERED)


def test_texts_in_order_change_routes_variables_and_what_is_watched(defaults: Synthesis, ordered: Synthesis) -> None:
    """In place, and nothing that holds or handles messages: those of before the change are still handled."""
    before, after = (
        {
            f"{type_}.{address}": resource
            for type_, resources in synthesis.stack(PRODUCTION).config["resource"].items()
            for address, resource in resources.items()
            if type_ not in ("aws_cloudwatch_metric_alarm", "aws_cloudwatch_dashboard", "aws_sns_topic_policy")
        }
        for synthesis in (defaults, ordered)
    )
    assert sorted(differences(before, after)) == [
        "aws_apigatewayv2_route.default.target",
        "aws_apigatewayv2_route.disconnect.target",
        *(f"aws_lambda_function.{name}.environment.variables.INBOUND" for name in sorted(FUNCTIONS)),
    ]


def test_stages_differ_where_their_settings_do_and_nowhere_else(defaults: Synthesis) -> None:
    staging, production = (defaults.stack(name) for name in (STAGING, PRODUCTION))
    # Every name of one stack may hold its name.
    as_production = json.loads(json.dumps(staging.config).replace(STAGING, PRODUCTION))
    assert sorted(differences(as_production, production.config)) == [
        "provider.aws.0.default_tags.0.tags.Stage",
        "resource.aws_apigatewayv2_stage.control.default_route_settings.throttling_burst_limit",
        "resource.aws_apigatewayv2_stage.control.default_route_settings.throttling_rate_limit",
        "resource.aws_apigatewayv2_stage.live.default_route_settings.throttling_burst_limit",
        "resource.aws_apigatewayv2_stage.live.default_route_settings.throttling_rate_limit",
        "resource.aws_dynamodb_table.Channels.deletion_protection_enabled",
        "resource.aws_dynamodb_table.Channels.lifecycle.prevent_destroy",
        "resource.aws_dynamodb_table.Connections.deletion_protection_enabled",
        "resource.aws_dynamodb_table.Connections.lifecycle.prevent_destroy",
        "resource.aws_secretsmanager_secret_version.jwt_secrets.secret_string_wo_version",
        "resource.aws_sqs_queue.dead_letters.lifecycle.prevent_destroy",
        "resource.aws_sqs_queue.deferred.lifecycle.prevent_destroy",
        "resource.aws_sqs_queue.inbound.lifecycle.prevent_destroy",
    ]


def differences(one: Any, other: Any, path: str = "") -> Iterator[str]:
    """Yield the paths at which two JSON values differ."""
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        for key in one:
            yield from differences(one[key], other[key], f"{path}.{key}".lstrip("."))
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for index, (left, right) in enumerate(zip(one, other, strict=True)):
            yield from differences(left, right, f"{path}.{index}")
    elif one != other:
        yield path


def test_no_name_is_that_of_the_other_stage(defaults: Synthesis) -> None:
    """In AWS both are in one account and region."""
    named: dict[str, list[str]] = {}
    for stack in (STAGING, PRODUCTION):
        for type_, resources in defaults.stack(stack).config["resource"].items():
            for resource in resources.values():
                for key in ("name", "function_name", "alarm_name", "dashboard_name"):
                    name = resource.get(key, "")
                    if key == "name" and (name in ("live", "$default") or type_ == "aws_iam_role_policy"):
                        continue  # within an API, or within a role
                    if name and not name.startswith("${"):
                        named.setdefault(stack, []).append(f"{type_} {name}")
    assert len(named[STAGING]) == len(named[PRODUCTION]) == 32
    assert set(named[STAGING]).isdisjoint(named[PRODUCTION])


def test_outputs_are_the_originals(stack: Stack) -> None:
    assert stack.config["output"] == {
        "controlApi": {"value": "${aws_apigatewayv2_api.control.api_endpoint}"},
        "region": {"value": "us-east-1"},
        "targetUrl": {"value": "https://app.example/slip"},
        "websocketUrl": {"value": "${aws_apigatewayv2_api.websocket.api_endpoint}/${aws_apigatewayv2_stage.live.name}"},
    }


def test_a_stage_that_speaks_grip_has_its_url(synth: Callable[..., Synthesis]) -> None:
    output = synth(BACKEND_PROTOCOL="grip").stack(PRODUCTION).config["output"]
    assert output["gripUrl"]["value"] == (
        "${aws_apigatewayv2_api.control.api_endpoint}?iss=slip-sockets&verify-iss=slip-sockets-gateway"
    )


def test_websocket_url_is_the_domain_where_there_is_one(all_options: Synthesis) -> None:
    output = all_options.stack(PRODUCTION).config["output"]
    assert output.keys() == {"controlApi", "region", "targetUrl", "websocketUrl"}
    assert output["websocketUrl"]["value"] == "wss://ws.example.com/"


def test_everything_is_tagged(defaults: Synthesis) -> None:
    for name, stage in ((STAGING, "staging"), (PRODUCTION, "production")):
        (provider,) = defaults.stack(name).config["provider"]["aws"]
        assert provider == {
            "region": "us-east-1",
            "default_tags": [{"tags": {"Application": "slip-sockets", "Stack": name, "Stage": stage}}],
        }


def test_provider_is_the_one_that_the_tests_apply(stack: Stack) -> None:
    assert stack.config["terraform"]["required_version"] == ">= 1.11"
    assert stack.config["terraform"]["required_providers"] == {"aws": {"source": "aws", "version": "5.100.0"}}


def test_state_is_beside_main_and_each_stages_own(defaults: Synthesis) -> None:
    for name in (STAGING, PRODUCTION):
        stack = defaults.stack(name)
        assert stack.config["terraform"]["backend"] == {"local": {"path": f"../../../terraform.{name}.tfstate"}}
        state = (stack.folder / f"../../../terraform.{name}.tfstate").resolve()
        assert state.parent == defaults.out.parent.resolve()


def test_remote_state_is_locked_in_the_bucket(synth: Callable[..., Synthesis], all_options: Synthesis) -> None:
    for name in (STAGING, PRODUCTION):
        assert all_options.stack(name).config["terraform"]["backend"] == {
            "s3": {
                "bucket": "our-states",
                "key": f"{name}.tfstate",
                "region": "us-east-1",
                "encrypt": True,
                "use_lockfile": True,
            }
        }
