"""Mapping templates of WebSocket APIs, rendered as API Gateway does.

What API Gateway does not have fails here. There it stays in the text as it was written, or is left out.

https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-websocket-api-mapping-template-reference.html
"""

from __future__ import annotations

import base64
import functools
import json
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote_plus, unquote_plus

import airspeed  # type: ignore[import-untyped]

IDENTITY = frozenset(
    {
        "accountId",
        "apiKey",
        "apiKeyId",
        "caller",
        "cognitoAuthenticationProvider",
        "sourceIp",
        "user",
        "userAgent",
        "userArn",
    }
)
CONTEXT = frozenset(
    {
        "connectionId",
        "connectedAt",
        "domainName",
        "eventType",
        "messageId",
        "routeKey",
        "requestId",
        "extendedRequestId",
        "apiId",
        "authorizer",
        "error",
        "identity",
        "requestTime",
        "requestTimeEpoch",
        "stage",
        "status",
    }
)
DISCONNECT_CODES = frozenset({"disconnectStatusCode", "disconnectReason"})
"""Of the event that a Lambda function gets. Whether $context has them is not documented."""

_ESCAPE = re.compile(r"\\(?:u([0-9a-f]{4})|.)")
_PATH_STEP = re.compile(r"\.(?P<name>\w+)|\['(?P<quoted>[^']+)'\]|\[(?P<index>\d+)\]")


class TemplateFailed(Exception):
    """The message says what of a template cannot be rendered, and why."""


def render(
    template: str,
    *,
    body: str,
    context: Mapping[str, Any],
    stage_variables: Mapping[str, str],
    disconnect_codes: bool,
) -> str:
    """Return the request's body. `context` is an event's `requestContext`; `disconnect_codes` whether $context has
    DISCONNECT_CODES.

    Raises TemplateFailed.
    """
    values = {name: value for name, value in context.items() if disconnect_codes or name not in DISCONNECT_CODES}
    values["identity"] = _Variables("$context.identity", IDENTITY, context.get("identity") or {})
    namespace = _Namespace(
        input=_Input(body),
        util=_UTIL,
        context=_Variables("$context", CONTEXT | DISCONNECT_CODES, values),
        stageVariables=dict(stage_variables),
    )
    try:
        rendered: str = _compiled(template).merge(namespace)
    except airspeed.TemplateExecutionError as error:
        raise TemplateFailed(f"{error.element.my_text():.100}: {error.__cause__}") from error
    except airspeed.TemplateError as error:
        raise TemplateFailed(str(error)) from error
    return rendered


@functools.lru_cache(maxsize=64)
def _compiled(template: str) -> Any:
    compiled = airspeed.Template(template)
    compiled.ensure_compiled()
    return compiled


class _Namespace(dict[str, Any]):
    """A template's variables, without those that it sets itself."""

    def __missing__(self, name: str) -> Any:
        raise TemplateFailed(f"API Gateway has no ${name}")


class _Variables:
    """$context, or a part of it: `names` are those that API Gateway has; an event may lack some."""

    def __init__(self, path: str, names: frozenset[str], values: Mapping[str, Any]) -> None:
        self._path = path
        self._names = names
        self._values = values

    def __getitem__(self, name: str) -> Any:
        if name not in self._names:
            raise TemplateFailed(f"API Gateway has no {self._path}.{name}")
        value = self._values.get(name)
        return str(value) if isinstance(value, int) else value


class _Input:
    def __init__(self, body: str) -> None:
        self.body = body

    def json(self, path: str) -> str:
        return json.dumps(self.path(path), separators=(",", ":"), ensure_ascii=False)

    def path(self, path: str) -> Any:
        """Of JSONPath it knows `$`, `.name`, `['name']` and `[0]`."""
        if not path.startswith("$"):
            raise TemplateFailed(f"{path} is not a JSONPath expression, which begins with $")
        found, end = _parsed(self.body), 1
        while end < len(path):
            step = _PATH_STEP.match(path, end)
            if step is None:
                raise TemplateFailed(f"the local AWS cannot read {path[end:]} of the JSONPath {path}")
            key = step["name"] or step["quoted"] or int(step["index"])
            try:
                found = found[key]
            except (LookupError, TypeError):
                raise TemplateFailed(f"the text has no {path}") from None
            end = step.end()
        return found

    def __getattr__(self, name: str) -> Any:
        raise TemplateFailed(f"API Gateway has no $input.{name} in a WebSocket API")


def _url_encode(data: Any) -> str:
    """As application/x-www-form-urlencoded, by Java's URLEncoder: it escapes `~` and not `*`."""
    return quote_plus(_text(data), safe="*", errors="replace").replace("~", "%7E")


def _base64_encode(data: Any) -> str:
    return base64.b64encode(_text(data).encode(errors="replace")).decode()


def _base64_decode(data: Any) -> str:
    return base64.b64decode(_text(data), validate=True).decode()


def _escape_javascript(data: Any) -> str:
    """By StringEscapeUtils of Apache Commons: ASCII alone, and `'`, which JSON does not allow."""
    escaped = json.dumps(_text(data))[1:-1].replace("'", r"\'").replace("/", r"\/")
    return _ESCAPE.sub(lambda match: rf"\u{match[1].upper()}" if match[1] else match[0], escaped)


class _Functions(dict[str, Callable[[Any], Any]]):
    """$util."""

    def __missing__(self, name: str) -> Any:
        raise TemplateFailed(f"API Gateway has no $util.{name}")


_UTIL = _Functions(
    urlEncode=_url_encode,
    urlDecode=lambda data: unquote_plus(_text(data)),
    base64Encode=_base64_encode,
    base64Decode=_base64_decode,
    escapeJavaScript=_escape_javascript,
    parseJson=lambda data: _parsed(_text(data)),
)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TemplateFailed(f"a function of $util takes a text, got {'no value' if value is None else repr(value)}")
    return value


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise TemplateFailed(f"not JSON: {error}") from None


class _Reference(airspeed.FormalReference):  # type: ignore[misc]
    """airspeed writes a reference that has no value as it stands in the template, as Velocity does."""

    def evaluate_raw(self, stream: Any, namespace: Any, loader: Any) -> None:
        if self.expression is None:  # a `$` that begins no name
            stream.write(self.my_text())
            return
        value = self.expression.calculate(namespace, loader)
        match value:
            case None if self.silent:
                return
            case bool():
                stream.write(str(value).lower())
            case str() | int() | float():
                stream.write(str(value))
            case None:
                raise TemplateFailed("it has no value")
            case _:
                raise TemplateFailed("it is not a text or a number; $input.json writes a list or an object")


class _Name(airspeed.NameOrCall):  # type: ignore[misc]
    """airspeed also calls Python's own methods, which Java's texts, numbers and lists do not have."""

    def calculate(self, current_object: Any, loader: Any, top_namespace: Any) -> Any:
        is_plain = isinstance(current_object, str | int | float | list)
        if self.name.startswith("_") or (
            is_plain and self.name not in airspeed.__additional_methods__.get(type(current_object), ())
        ):
            raise TemplateFailed(f"the local AWS knows no {self.name} of a {type(current_object).__name__}")
        return super().calculate(current_object, loader, top_namespace)


class _HashText(airspeed.FallthroughHashText):  # type: ignore[misc]
    """airspeed takes an `#if` that it cannot read for text."""

    def parse(self) -> None:
        super().parse()
        if self._full_text.startswith(("if", "{if"), self.end):
            raise self.syntax_error("a condition")


# airspeed has no other way to be given them.
airspeed.FormalReference = _Reference
airspeed.NameOrCall = _Name
airspeed.FallthroughHashText = _HashText
