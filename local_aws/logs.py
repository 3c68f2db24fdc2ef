"""What functions print, into their log groups, with the permissions of their roles."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from moto.backends import get_backend

from .apis import AwsApis
from .deployed import Function
from .permissions import AccessKey, Demand, Permissions


class FunctionLogs:
    """Lambda writes to CloudWatch Logs in the role's name; what the role does not allow is not written."""

    def __init__(self, apis: AwsApis, permissions: Permissions, account_id: str) -> None:
        self._apis = apis
        self._permissions = permissions
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
            if self._denied(key, "logs:CreateLogGroup", arn):
                return
            group = backend.create_log_group(function.log_group, {})
        stream_arn = f"{arn}:log-stream:{stream}"
        if stream not in group.streams:
            if self._denied(key, "logs:CreateLogStream", stream_arn):
                return
            backend.create_log_stream(function.log_group, stream)
        if not self._denied(key, "logs:PutLogEvents", stream_arn):
            backend.put_log_events(function.log_group, stream, events)

    def _denied(self, key: AccessKey, action: str, resource: str) -> bool:
        return self._permissions.check(key, [Demand(action, resource)]) is not None
