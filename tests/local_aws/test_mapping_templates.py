"""Mapping templates become what API Gateway makes of them; what it does not have fails."""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import parse_qs

import pytest

from local_aws.mapping_templates import TemplateFailed, render

MESSAGE = {
    "eventType": "MESSAGE",
    "connectionId": "L0SM9cOFvHcCIhw=",
    "messageId": "a+b/c=",
    "connectedAt": 1707502303419,
    "identity": {"sourceIp": "127.0.0.1"},
}
DISCONNECT = {"eventType": "DISCONNECT", "connectionId": "c=", "disconnectStatusCode": 1001, "disconnectReason": ""}
INTO_A_QUEUE = (
    "Action=SendMessage&MessageGroupId=$util.urlEncode($context.connectionId)"
    "&MessageDeduplicationId=$util.urlEncode($context.messageId)"
    "&MessageBody=%7B%22data%22%3A%22$util.urlEncode($util.base64Encode($input.body))%22%7D"
)
CODES = '#if("$!context.disconnectStatusCode" != "")code $context.disconnectStatusCode#{else}no code#end'


def rendered(template: str, body: str = "", context: dict[str, Any] = MESSAGE, *, disconnect_codes: bool = True) -> str:
    variables = {"queue": "q"}
    return render(template, body=body, context=context, stage_variables=variables, disconnect_codes=disconnect_codes)


@pytest.mark.parametrize(
    "text", ["", "hello", "a&b=c+%41 '\"\\", "\0\r\n\u2028\u2029", "#set($x = 1)$context ü 😀", "x" * 131_072]
)
def test_any_text_survives_a_form(text: str) -> None:
    form = parse_qs(rendered(INTO_A_QUEUE, text), strict_parsing=True)
    assert form["MessageGroupId"] == ["L0SM9cOFvHcCIhw="]
    assert form["MessageDeduplicationId"] == ["a+b/c="]
    assert base64.b64decode(json.loads(form["MessageBody"][0])["data"]).decode() == text


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("$input.body", '{"a": ["x\'/é", 2], "b": {"c": true}}'),
        ("$input.json('$')", '{"a":["x\'/é",2],"b":{"c":true}}'),
        ("$input.json('$.b')", '{"c":true}'),
        ("$input.path('$.a[1]') $input.path('$.b.c') $input.path(\"$['a']\")[1]", "2 true 2"),
        ("#foreach($each in $input.path('$.a'))<$each>#end", "<x'/é><2>"),
        ("#set($parsed = $util.parseJson($input.body))$parsed.b.c", "true"),
        ("$util.urlEncode('a b~*/é')", "a+b%7E*%2F%C3%A9"),
        ("$util.urlDecode('a+b%2F')", "a b/"),
        ("$util.base64Decode($util.base64Encode('é'))", "é"),
        ("$util.escapeJavaScript($input.path('$.a[0]'))", r"x\'\/\u00E9"),
        ("$context.connectedAt ${context.identity.sourceIp} $stageVariables.queue", "1707502303419 127.0.0.1 q"),
        ("$stageVariables['queue']${stageVariables['queue']}", "qq"),
        ("[$!context.identity.userAgent] $5 #1", "[] $5 #1"),
    ],
)
def test_template_is_rendered(template: str, expected: str) -> None:
    assert rendered(template, '{"a": ["x\'/é", 2], "b": {"c": true}}') == expected


def test_javascript_is_escaped_as_ascii() -> None:
    assert rendered("$util.escapeJavaScript($input.body)", "\\é\u2028\0😀\n") == r"\\\u00E9\u2028\u0000\uD83D\uDE00\n"


def test_disconnect_codes_are_there_or_not() -> None:
    assert rendered(CODES, context=DISCONNECT) == "code 1001"
    assert rendered(CODES, context=DISCONNECT, disconnect_codes=False) == "no code"
    assert rendered("[$context.disconnectReason]", context=DISCONNECT) == "[]"


@pytest.mark.parametrize(
    ("reference", "why_not"),
    [
        ("$foo", "API Gateway has no $foo"),
        ("$!foo", "API Gateway has no $foo"),
        ("$util.time()", "API Gateway has no $util.time"),
        ("$!util.qr('x')", "API Gateway has no $util.qr"),
        ("$input.params('x')", "API Gateway has no $input.params in a WebSocket API"),
        ("$context.accountId", "API Gateway has no $context.accountId"),
        ("$context.identity.x", "API Gateway has no $context.identity.x"),
        ("$context.disconnectReason", "it has no value"),
        ("$stageVariables.no", "it has no value"),
        ("$util.urlEncode($context.status)", "a function of $util takes a text, got no value"),
        ("$util.parseJson('[')", "not JSON: Expecting value: line 1 column 2 (char 1)"),
        ("$input.body.upper()", "the local AWS knows no upper of a str"),
        ("$context.__class__", "the local AWS knows no __class__ of a _Variables"),
        ("$input.path('$.a')", "it is not a text or a number; $input.json writes a list or an object"),
        ("$input.path('$.no')", "the text has no $.no"),
        ("$input.path('$..a')", "the local AWS cannot read ..a of the JSONPath $..a"),
        ("#include('x')", "no loader available for 'x'"),
    ],
)
def test_what_api_gateway_does_not_have_fails(reference: str, why_not: str) -> None:
    with pytest.raises(TemplateFailed) as failed:
        rendered(f"before {reference} after", '{"a": [1]}')
    assert str(failed.value) == f"{reference}: {why_not}"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("$util.urlEncode(", "line 1, column 17: expected ) in parameter list, got:  ..."),
        ("#if", "line 1, column 2: expected a condition in _ hash text, got: if ..."),
        ("#if(true)x", "line 1, column 11: expected #else, #elseif or #end in if directive, got:  ..."),
    ],
)
def test_template_that_is_not_velocity_fails(template: str, message: str) -> None:
    with pytest.raises(TemplateFailed) as failed:
        rendered(template)
    assert str(failed.value) == message
