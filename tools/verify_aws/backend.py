"""The backend of `make verify-aws`, a Lambda function behind a function URL. It remembers nothing: a connection's query
and the text that it sends say what to do.

Query: `status=502` refuses with that status; `accept=no` responds without ACCEPT; `slow=27` waits so many seconds;
`watcher=ID` has `closed <id> <code> <reason>` sent to that connection when this one has closed;
`fail_until=<Unix seconds>` lets CLOSE fail with 502 until then. A text comes back; `environment` brings what the
function runs on.
"""

from __future__ import annotations

import base64
import importlib.util
import json
import os
import platform
import time
from pathlib import Path
from typing import Any

import slip_sockets.protocol.events as witness
from slip_sockets.client.connection import Connection, error_response, parse_request
from slip_sockets.protocol.errors import InvalidEvents, InvalidToken
from slip_sockets.protocol.events import Close, Open, Text


def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    body = event.get("body") or ""
    raw = base64.b64decode(body) if event.get("isBase64Encoded") else body.encode()
    try:
        connection = parse_request(event["headers"], raw, secrets=[os.environ["JWT_SECRET"]])
    except (InvalidToken, InvalidEvents) as error:
        response = error_response(error)
        return {"statusCode": response.status, "headers": response.headers, "body": response.body.decode()}
    status = act(connection, now=time.time())
    if status is not None:
        return {"statusCode": status, "body": ""}
    response = connection.response()
    return {"statusCode": response.status, "headers": response.headers, "body": response.body.decode()}


def act(connection: Connection, *, now: float) -> int | None:
    """Record the reply. Return the status to fail with, None for a reply."""
    for event in connection.events:
        match event:
            case Open():
                query = {name: values[0] for name, values in connection.metadata["query"].items()}
                time.sleep(float(query.get("slow", 0)))
                if "status" in query:
                    return int(query["status"])
                if query.get("accept") != "no":
                    connection.accept()
                    connection.set_metadata(query)
                    connection.send_text(f"welcome {connection.connection_id}")
            case Text(data="environment"):
                connection.send_text(json.dumps(environment()))
            case Text(data=data):
                connection.send_text(data)
            case Close(code=code, reason=reason):
                query = connection.metadata or {}
                if now < float(query.get("fail_until", 0)):
                    return 502
                if "watcher" in query:
                    news = f"closed {connection.connection_id} {code} {reason}"
                    connection.send_text(news, connection_id=query["watcher"])
    return None


def environment() -> dict[str, Any]:
    """Return what the functions of the stack run on: their zip, Python, architecture and memory are the same."""
    cached = Path(importlib.util.cache_from_source(str(witness.__file__)))
    is_valid = cached.exists() and cached.read_bytes()[:4] == importlib.util.MAGIC_NUMBER
    return {
        "architecture": platform.machine(),
        "python": platform.python_version(),
        "memory_mb": int(os.environ["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"]),
        "bytecode": is_valid,
    }
