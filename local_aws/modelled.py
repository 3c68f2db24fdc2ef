"""Reads a request back into the parameters that its operation has in botocore's model: the reverse of a client.

JSON in which a header names the operation, JSON over REST, and forms. XML over REST (S3, Route 53) and CBOR are not
read.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, parse_qsl, unquote, urlsplit

import botocore.session
from botocore.exceptions import UnknownServiceError
from botocore.model import ListShape, MapShape, OperationModel, ServiceModel, Shape, StructureShape

from .api_request import ApiRequest

_MODELS = {"apigateway": "apigatewayv2", "monitoring": "cloudwatch"}
"""Where the name that requests are signed for is not that of botocore's model. Stacks have no REST API of version 1."""
_PLACEHOLDER = re.compile(r"\\{([A-Za-z\\-]+?)(\\\+)?\\}")


@dataclass(frozen=True, slots=True)
class Modelled:
    """A request's operation, `protocol` (botocore's name) and parameters; null is left out, as AWS reads it."""

    operation: OperationModel
    protocol: str
    parameters: Mapping[str, Any]


@functools.cache
def model_of(service: str) -> ServiceModel:
    """Raises UnknownServiceError."""
    return botocore.session.get_session().get_service_model(service)


def read_request(request: ApiRequest) -> Modelled | None:
    """Return None where no model says what a request is."""
    try:
        model = model_of(_MODELS.get(request.service or "", request.service or ""))
    except UnknownServiceError:
        return None
    if request.is_json_rpc or request.is_query:
        if request.operation not in model.operation_names:
            return None
        operation = model.operation_model(request.operation)
        if request.is_json_rpc:
            return Modelled(operation, "json", _without_nulls(request.parameters))
        return Modelled(operation, "query", _from_form(request.body, operation.input_shape))
    if model.metadata["protocol"] != "rest-json":
        return None
    url = urlsplit(request.target)
    for pattern, names, query, name in _routes(model):
        matched = pattern.fullmatch(f"{request.method} {url.path.rstrip('/')}")
        if matched is not None and query in url.query:
            operation = model.operation_model(name)
            in_path = dict(zip(names, map(unquote, matched.groups()), strict=True))
            return Modelled(operation, "rest-json", _from_rest(request, operation.input_shape, in_path))
    return None


@functools.cache
def _routes(model: ServiceModel) -> list[tuple[re.Pattern[str], list[str], str, str]]:
    """Return each operation's method and path, the names of what its path has, the query that it always has, and its
    name; those with such a query first, then those with the longest path."""
    found = []
    for name in model.operation_names:
        http = model.operation_model(name).http
        path, _, query = http["requestUri"].partition("?")
        escaped = re.escape(path.rstrip("/"))
        pattern = _PLACEHOLDER.sub(lambda match: "(.+)" if match[2] else "([^/]+)", escaped)
        names = [match[1].replace("\\", "") for match in _PLACEHOLDER.finditer(escaped)]
        literal = len(_PLACEHOLDER.sub("", escaped))
        found.append(((query != "", literal), (re.compile(f"{http['method']} {pattern}"), names, query, name)))
    return [route for _, route in sorted(found, key=lambda each: each[0], reverse=True)]


def _from_rest(request: ApiRequest, shape: Shape | None, in_path: Mapping[str, str]) -> dict[str, Any]:
    if not isinstance(shape, StructureShape):
        return {}
    query = parse_qs(urlsplit(request.target).query, keep_blank_values=True)
    parameters: dict[str, Any] = {}
    in_body = dict(shape.members)
    for name, member in shape.members.items():
        key = member.serialization.get("name", name)
        match member.serialization.get("location"):
            case "uri" if key in in_path:
                parameters[name] = _scalar(in_path[key], member)
            case "querystring" if key in query:
                parameters[name] = (
                    [_scalar(each, member.member) for each in query[key]]
                    if isinstance(member, ListShape)
                    else _scalar(query[key][0], member)
                )
            case "header" if key.lower() in request.headers:
                parameters[name] = _scalar(request.headers[key.lower()], member)
            case None:
                continue
        del in_body[name]
    return parameters | _from_json(_without_nulls(request.parameters), in_body)


def _from_json(body: Mapping[str, Any], members: Mapping[str, Shape]) -> dict[str, Any]:
    """Return a structure by its members' own names. A field that the model does not know keeps its name."""
    names = {member.serialization.get("name", name): name for name, member in members.items()}
    return {
        names.get(key, key): _value(value, members[names[key]]) if key in names else value
        for key, value in body.items()
    }


def _value(value: Any, shape: Shape) -> Any:
    match shape, value:
        case StructureShape(), dict():
            return _from_json(value, shape.members)
        case ListShape(), list():
            return [_value(each, shape.member) for each in value]
        case MapShape(), dict():
            return {key: _value(each, shape.value) for key, each in value.items()}
    return value


def _from_form(body: bytes, shape: Shape | None) -> dict[str, Any]:
    fields = dict(parse_qsl(body.decode(errors="replace"), keep_blank_values=True))
    unread = {name for name in fields if name not in ("Action", "Version")}
    parameters = _structure(fields, shape, "", unread) if isinstance(shape, StructureShape) else {}
    return parameters | {name: fields[name] for name in unread}


def _structure(fields: Mapping[str, str], shape: StructureShape, prefix: str, unread: set[str]) -> dict[str, Any]:
    """Return a structure of a form's fields, and take those that were read out of `unread`."""
    found: dict[str, Any] = {}
    for name, member in shape.members.items():
        key = f"{prefix}{member.serialization.get('name', name)}"
        if any(field == key or field.startswith(f"{key}.") for field in unread):
            found[name] = _field(fields, member, key, unread)
    return found


def _field(fields: Mapping[str, str], shape: Shape, key: str, unread: set[str]) -> Any:
    is_flat = shape.serialization.get("flattened", False)
    match shape:
        case StructureShape():
            return _structure(fields, shape, f"{key}.", unread)
        case ListShape():
            unread.discard(key)  # an empty list is a field without a number
            item = key if is_flat else f"{key}.{shape.member.serialization.get('name', 'member')}"
            return [_field(fields, shape.member, each, unread) for each in _numbered(item, unread)]
        case MapShape():
            unread.discard(key)
            names = shape.key.serialization.get("name", "key"), shape.value.serialization.get("name", "value")
            entries = list(_numbered(key if is_flat else f"{key}.entry", unread))
            pairs = [
                (_field(fields, shape.key, f"{each}.{names[0]}", unread), f"{each}.{names[1]}") for each in entries
            ]
            return {name: _field(fields, shape.value, value, unread) for name, value in pairs}
    unread.discard(key)
    return _scalar(fields.get(key, ""), shape)


def _numbered(prefix: str, unread: set[str]) -> list[str]:
    """Return `prefix.1`, `prefix.2` and so on, as far as fields have them."""
    numbers = {
        int(number)
        for field in unread
        if field.startswith(f"{prefix}.") and (number := field[len(prefix) + 1 :].partition(".")[0]).isdigit()
    }
    return [f"{prefix}.{number}" for number in sorted(numbers)]


def _scalar(text: str, shape: Shape) -> Any:
    """Return a text as a value of its shape's type; a text that is not a value of it stays, and the check finds it."""
    try:
        match shape.type_name:
            case "integer" | "long":
                return int(text)
            case "float" | "double":
                return float(text)
            case "boolean":
                return json.loads(text) if text in ("true", "false") else text
    except ValueError:
        pass
    return text


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nulls(field) for name, field in value.items() if field is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value
