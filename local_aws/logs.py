"""Writes the output of functions to their log groups, with the permissions of their roles."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from moto.backends import get_backend

from .apis import AwsApis
from .deployed import Function
from .permissions import AccessControl, AccessKey, Permission


class FunctionLogs:
    """Like Lambda, it writes to CloudWatch Logs with the function's role; without its permission the lines are lost."""

    def __init__(self, apis: AwsApis, access: AccessControl, account_id: str) -> None:
        self._apis = apis
        self._access = access
        self._account_id = account_id
        self._tasks: set[asyncio.Task[None]] = set()

    def write(self, function: Function, key: AccessKey, stream: str, lines: list[str]) -> None:
        events = [{"timestamp": int(time.time() * 1000), "message": line} for line in lines]
        task = asyncio.create_task(self._apis.run(self._put, function, key, stream, events))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def aclose(self) -> None:
        await asyncio.gather(*self._tasks)

    def _put(self, function: Function, key: AccessKey, stream: str, events: list[dict[str, Any]]) -> None:
        backend: Any = get_backend("logs")[self._account_id][function.region]
        arn = f"arn:aws:logs:{function.region}:{self._account_id}:log-group:{function.log_group}"
        group = backend.groups.get(function.log_group)
        if group is None:
            if self._is_denied(key, "logs:CreateLogGroup", arn):
                return
            group = backend.create_log_group(function.log_group, {})
        stream_arn = f"{arn}:log-stream:{stream}"
        if stream not in group.streams:
            if self._is_denied(key, "logs:CreateLogStream", stream_arn):
                return
            backend.create_log_stream(function.log_group, stream)
        if not self._is_denied(key, "logs:PutLogEvents", stream_arn):
            backend.put_log_events(function.log_group, stream, events)

    def _is_denied(self, key: AccessKey, action: str, resource: str) -> bool:
        return self._access.check(key, [Permission(action, resource)]) is not None
