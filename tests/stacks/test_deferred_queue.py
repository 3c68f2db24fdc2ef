"""The queue of deferred messages, and what it has in common with the dead-letter queue and the inbound queue."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from slip_sockets.apigateway.limits import BACKEND_TIMEOUT_S
from slip_sockets.aws.environment import FunctionSettings
from slip_sockets.aws.queue import MAX_BATCH_BYTES, MAX_RECEIVE_COUNT
from slip_sockets.aws.timers import MAX_DELAY_S
from slip_sockets.gateway.deferred_base import RETRY_FOR_S
from slip_sockets.grip.timers import MAX_TIMER_S

from .synthesis import PRODUCTION, STAGING, Stack, Synthesis

QUEUES = ("deferred", "dead_letters", "inbound")
HANDLED = ("deferred", "inbound")
FUNCTIONS = ("websocket", "control", "deliver")


@pytest.mark.parametrize("address", QUEUES)
def test_order_is_kept_for_each_connection_at_high_throughput(stack: Stack, address: str) -> None:
    queue = stack.resource("sqs_queue", address)
    assert queue["fifo_queue"] is True
    assert queue["deduplication_scope"] == "messageGroup"
    assert queue["fifo_throughput_limit"] == "perMessageGroupId"
    assert queue["name"].endswith(".fifo")


@pytest.mark.parametrize("address", QUEUES)
def test_what_the_gateway_sends_fits(stack: Stack, address: str) -> None:
    assert stack.resource("sqs_queue", address)["max_message_size"] == MAX_BATCH_BYTES


@pytest.mark.parametrize("address", QUEUES)
def test_messages_are_encrypted_at_rest(stack: Stack, address: str) -> None:
    assert stack.resource("sqs_queue", address)["sqs_managed_sse_enabled"] is True


def test_what_keeps_failing_is_kept_apart_for_two_weeks(stack: Stack) -> None:
    for address in HANDLED:
        assert stack.resource("sqs_queue", address)["redrive_policy"] == (
            '${jsonencode({"deadLetterTargetArn" = aws_sqs_queue.dead_letters.arn, '
            f'"maxReceiveCount" = {MAX_RECEIVE_COUNT}}})}}'
        )
    assert stack.resource("sqs_queue", "dead_letters")["message_retention_seconds"] == 14 * 24 * 60 * 60
    assert "redrive_policy" not in stack.resource("sqs_queue", "dead_letters")


@pytest.mark.parametrize("address", HANDLED)
def test_a_message_stays_hidden_longer_than_a_worker_may_take(stack: Stack, address: str) -> None:
    timeout_s = stack.resource("lambda_function", "deliver")["timeout"]
    assert stack.resource("sqs_queue", address)["visibility_timeout_seconds"] == 2 * timeout_s
    assert timeout_s > 2 * BACKEND_TIMEOUT_S


def test_it_feeds_deliver_one_message_at_a_time(stack: Stack) -> None:
    mapping = stack.resource("lambda_event_source_mapping", "deliver")
    assert mapping["event_source_arn"] == "${aws_sqs_queue.deferred.arn}"
    assert mapping["function_name"] == "${aws_lambda_function.deliver.arn}"
    assert mapping["batch_size"] == 1
    assert mapping["function_response_types"] == ["ReportBatchItemFailures"]
    assert mapping["scaling_config"] == {"maximum_concurrency": 100}


def test_timers_of_grip_have_a_standard_queue_of_their_own(synth: Callable[..., Synthesis], stack: Stack) -> None:
    assert "timers" not in stack.config["resource"]["aws_sqs_queue"]
    in_grip = synth(BACKEND_PROTOCOL="grip").stack(PRODUCTION)
    queue = in_grip.resource("sqs_queue", "timers")
    assert "fifo_queue" not in queue, "it would have no delay for each message"
    assert queue["message_retention_seconds"] > MAX_TIMER_S
    assert queue["sqs_managed_sse_enabled"] is True
    mapping = in_grip.resource("lambda_event_source_mapping", "timers")
    assert mapping["event_source_arn"] == "${aws_sqs_queue.timers.arn}"
    assert mapping["function_response_types"] == ["ReportBatchItemFailures"]
    for name in FUNCTIONS:
        read = FunctionSettings.from_environ(in_grip.environment(name))
        assert read.timers_queue_url == "${aws_sqs_queue.timers.url}"


def test_sweeps_have_that_queue_too_where_the_backend_hears_who_is_there(synth: Callable[..., Synthesis]) -> None:
    deployment = synth(OCCUPANCY_EVENTS="true", STAGING_OCCUPANCY_EVENTS="false")
    assert "timers" not in deployment.stack(STAGING).config["resource"]["aws_sqs_queue"]
    production = deployment.stack(PRODUCTION)
    queue = production.resource("sqs_queue", "timers")
    assert "fifo_queue" not in queue, "it would have no delay for each message"
    assert queue["message_retention_seconds"] > RETRY_FOR_S + MAX_DELAY_S, "it becomes a dead letter before"
    mapping = production.resource("lambda_event_source_mapping", "timers")
    assert mapping["event_source_arn"] == "${aws_sqs_queue.timers.arn}"
    for name in FUNCTIONS:
        read = FunctionSettings.from_environ(production.environment(name))
        assert (read.occupancy_events, read.timers_queue_url) == (True, "${aws_sqs_queue.timers.url}")


@pytest.mark.parametrize("address", QUEUES)
def test_terraform_refuses_to_destroy_productions(defaults: Synthesis, address: str) -> None:
    staging, production = (defaults.stack(stack).resource("sqs_queue", address) for stack in (STAGING, PRODUCTION))
    assert (staging["lifecycle"], production["lifecycle"]) == ({"prevent_destroy": False}, {"prevent_destroy": True})
