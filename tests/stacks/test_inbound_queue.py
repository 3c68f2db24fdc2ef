"""How texts and disconnects come into the inbound queue: integrations, role, and mapping templates that survive any
text, rendered by another implementation of Velocity than API Gateway's."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from urllib.parse import parse_qsl, quote_plus

import airspeed  # type: ignore[import-untyped]
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from slip_sockets.apigateway.requests import ApiIdentity
from slip_sockets.apigateway.socket_events import Client, disconnect_event, message_event
from slip_sockets.aws.queue import MAX_BATCH_BYTES, decode
from slip_sockets.dev.inbound import inbound_message
from slip_sockets.gateway.deferred import Disconnected, ReceivedText, Texts
from slip_sockets.protocol.events import MAX_TEXT_BYTES
from stacks.inbound_queue import disconnect_template, text_template

from .synthesis import PRODUCTION, Stack, Synthesis

TEMPLATES = {"inbound_text": text_template(), "inbound_disconnect": disconnect_template()}
CONNECTION_ID = "L0SM9cOF-_vHcg="
"""As API Gateway makes them. https://docs.aws.amazon.com/apigateway/latest/developerguide/websocket-api-data-mapping.html"""
MESSAGE_ID = "Fp3fVdHaI/MCK+w="
CONTEXT: Mapping[str, object] = {"connectionId": CONNECTION_ID, "messageId": MESSAGE_ID}
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
"""A text of a WebSocket is UTF-8, which has no surrogates."""


class Util:
    """The functions of $util, which are Java's: they take strings alone."""

    def urlEncode(self, text: str) -> str:  # noqa: N802 - API Gateway's name
        assert isinstance(text, str)
        return quote_plus(text, safe="*")

    def base64Encode(self, text: str) -> str:  # noqa: N802 - API Gateway's name
        assert isinstance(text, str)
        return base64.b64encode(text.encode()).decode()


def form(template: str, context: Mapping[str, object], body: str | None = None) -> dict[str, str]:
    """Return the fields of the form that API Gateway sends to SQS."""
    rendered = airspeed.Template(template).merge({"context": context, "input": {"body": body}, "util": Util()})
    assert rendered.isascii()
    fields = parse_qsl(rendered, keep_blank_values=True, strict_parsing=True, errors="strict")
    assert len(dict(fields)) == len(fields)
    return dict(fields)


@given(TEXTS)
@settings(max_examples=200, deadline=None, derandomize=True)
@example("")
@example("false")
@example("0")
@example("\0\x1b\u2028\u2029\ufffe\U0001f600")
@example("\"'\\&=+%20#?;\r\n")
@example("$input.body ${context.connectionId} $util.urlEncode('a') #end #if(true) #set($a = 1) ## #* *#")
@example("x" * MAX_TEXT_BYTES)
@example("\0" * MAX_TEXT_BYTES)
@example("\U0001f600" * (MAX_TEXT_BYTES // 4))
def test_any_text_arrives_as_it_was_sent(text: str) -> None:
    fields = form(text_template(), CONTEXT, text)
    assert len(fields["MessageBody"]) <= MAX_BATCH_BYTES
    assert decode(fields["MessageBody"]) == Texts(CONNECTION_ID, [ReceivedText(MESSAGE_ID, text.encode())])


def test_an_event_without_a_body_is_an_empty_text() -> None:
    fields = form(text_template(), CONTEXT, None)
    assert decode(fields["MessageBody"]) == Texts(CONNECTION_ID, [ReceivedText(MESSAGE_ID, b"")])


def test_a_text_is_sent_once_and_behind_those_of_its_connection() -> None:
    fields = form(text_template(), CONTEXT, "hi")
    assert fields.pop("MessageBody")
    assert fields == {
        "Action": "SendMessage",
        "MessageGroupId": CONNECTION_ID,
        "MessageDeduplicationId": MESSAGE_ID,
    }


def test_a_disconnect_is_sent_once_and_behind_the_texts() -> None:
    fields = form(disconnect_template(), CONTEXT)
    assert fields.pop("MessageBody")
    assert fields == {
        "Action": "SendMessage",
        "MessageGroupId": CONNECTION_ID,
        "MessageDeduplicationId": "disconnected",
    }


@given(st.one_of(st.integers(1000, 4999), st.integers(1000, 4999).map(str)), TEXTS.filter(bool))
@settings(max_examples=200, deadline=None, derandomize=True)
@example(1001, "Going away")
@example(1006, '"}$context.messageId#end\0\u2028')
def test_a_disconnect_has_its_code_and_reason(code: int | str, reason: str) -> None:
    context = {**CONTEXT, "disconnectStatusCode": code, "disconnectReason": reason}
    fields = form(disconnect_template(), context)
    assert decode(fields["MessageBody"]) == Disconnected(CONNECTION_ID, int(code), reason.encode())


@pytest.mark.parametrize("missing", [{}, {"disconnectStatusCode": "", "disconnectReason": ""}])
def test_a_disconnect_without_code_and_reason_leaves_them_out(missing: dict[str, str]) -> None:
    fields = form(disconnect_template(), {**CONTEXT, **missing})
    assert decode(fields["MessageBody"]) == Disconnected(CONNECTION_ID)


# The development server does without templates what they do.

CLIENT = Client(ApiIdentity("local", "live", "127.0.0.1:8787"), CONNECTION_ID, 1_700_000_000.0, "127.0.0.1", None)


@given(TEXTS)
@settings(max_examples=100, deadline=None, derandomize=True)
@example("")
@example("\0\u2028")
def test_the_development_server_makes_the_same_message_of_a_text(text: str) -> None:
    event = message_event(CLIENT, text)
    fields = form(text_template(), event["requestContext"], event["body"])
    assert inbound_message(event) == decode(fields["MessageBody"])


@given(st.integers(1000, 4999), TEXTS)
@settings(max_examples=100, deadline=None, derandomize=True)
@example(1006, "")
@example(1005, "Client-side close frame status not set")
def test_the_development_server_makes_the_same_message_of_a_disconnect(code: int, reason: str) -> None:
    event = disconnect_event(CLIENT, code, reason)
    fields = form(disconnect_template(), event["requestContext"])
    assert inbound_message(event) == decode(fields["MessageBody"])


@pytest.mark.parametrize("address", TEMPLATES)
def test_api_gateway_sends_to_the_queue_without_a_function(stack: Stack, address: str) -> None:
    integration = dict(stack.resource("apigatewayv2_integration", address))
    assert integration.pop("//")
    assert integration == {
        "api_id": "${aws_apigatewayv2_api.websocket.id}",
        "integration_type": "AWS",
        "integration_method": "POST",
        "integration_uri": (
            '${replace(aws_sqs_queue.inbound.arn, "/^arn:([^:]+):sqs:([^:]+):([^:]+):(.+)$/", '
            '"arn:$1:apigateway:$2:sqs:path/$3/$4")}'
        ),
        "credentials_arn": "${aws_iam_role.inbound.arn}",
        "request_parameters": {"integration.request.header.Content-Type": "'application/x-www-form-urlencoded'"},
        "template_selection_expression": "\\$default",
        "request_templates": {"$default": TEMPLATES[address]},
        "passthrough_behavior": "NEVER",
        "depends_on": ["aws_iam_role_policy.inbound"],
    }


@pytest.mark.parametrize("template", TEMPLATES.values())
def test_terraform_takes_a_template_as_it_is(template: str) -> None:
    assert "${" not in template
    assert "%{" not in template


def test_api_gateway_may_send_to_the_queue_and_nothing_else(stack: Stack) -> None:
    role, policy = stack.resource("iam_role", "inbound"), stack.resource("iam_role_policy", "inbound")
    assert role["name"] == f"{stack.folder.name}-inbound"
    assert json.loads(role["assume_role_policy"])["Statement"] == [
        {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "apigateway.amazonaws.com"}}
    ]
    assert policy["role"] == "${aws_iam_role.inbound.name}"
    assert json.loads(policy["policy"])["Statement"] == [
        {"Effect": "Allow", "Action": ["sqs:SendMessage"], "Resource": ["${aws_sqs_queue.inbound.arn}"]}
    ]


def targets(synthesis: Synthesis) -> dict[str, str]:
    """Return the address of the integration to which each route of the WebSocket API leads."""
    stack = synthesis.stack(PRODUCTION)
    return {
        name: stack.resource("apigatewayv2_route", name)["target"]
        .removeprefix("integrations/${aws_apigatewayv2_integration.")
        .removesuffix(".id}")
        for name in ("connect", "default", "disconnect")
    }


def test_in_order_texts_and_disconnects_go_through_the_queue(defaults: Synthesis, ordered: Synthesis) -> None:
    assert targets(defaults) == dict.fromkeys(("connect", "default", "disconnect"), "websocket")
    assert targets(ordered) == {
        "connect": "websocket",
        "default": "inbound_text",
        "disconnect": "inbound_disconnect",
    }


def test_it_feeds_deliver_in_batches(stack: Stack) -> None:
    deferred, inbound = (stack.resource("lambda_event_source_mapping", name) for name in ("deliver", "inbound"))
    assert inbound["event_source_arn"] == "${aws_sqs_queue.inbound.arn}"
    assert inbound["batch_size"] == 10
    same = ("function_name", "function_response_types", "scaling_config")
    assert [inbound[name] for name in same] == [deferred[name] for name in same]
