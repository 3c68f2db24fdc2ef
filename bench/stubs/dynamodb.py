"""A stub of DynamoDB with the tables `Connections` and `Channels`: `python -m bench.stubs.dynamodb`.

It is the development server's stores behind DynamoDB's calls (see `table`), and counts units. What it cannot show: the
index never lags, nothing is throttled, and requests are not validated. `--latency` is what each call takes, in seconds.

`POST /fill?channel=&subscribers=` subscribes connections to a channel. `GET /stats` has calls and units by operation
since `POST /reset`. It is Secrets Manager too: GetSecretValue returns JWT_SECRET for any secret, since a function
reads one once, and a process more is not worth that.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
from collections.abc import Mapping
from functools import partial
from typing import Any

from .aws_json import Operation, Response, Service, run
from .channels_table import ChannelsTable
from .connections_table import ConnectionsTable
from .http import Query
from .table import Table
from .units import Meter


class DynamoDb(Service):
    def __init__(self, latency_s: float) -> None:
        self._latency_s = latency_s
        self._meter = Meter()
        self._connections = ConnectionsTable(self._meter)
        self._channels = ChannelsTable(self._meter)
        self._tables: Mapping[str, Table] = {"Connections": self._connections, "Channels": self._channels}
        self._of_all_tables: Mapping[str, Operation] = {
            "BatchWriteItem": self._batch_write_item,
            "TransactWriteItems": self._transact_write_items,
        }
        names = {*self._of_all_tables, *(name for table in self._tables.values() for name in table.operations)}
        self.operations = {name: partial(self._call, name) for name in names} | {"GetSecretValue": _get_secret_value}
        self.controls = {"/fill": self._fill, "/stats": lambda _: self._meter.stats(), "/reset": self._reset}

    def _call(self, operation: str, request: Any) -> Response | asyncio.Future[Response]:
        if operation in self._of_all_tables:
            perform = self._of_all_tables[operation]
        else:
            perform = self._table(_table_name(request)).operations[operation]
        if not self._latency_s:
            return perform(request)
        return asyncio.ensure_future(self._call_late(perform, request))

    def _table(self, name: str) -> Table:
        """A table's name may begin with the stack's."""
        return self._tables[name.rpartition("-")[2]]

    def _batch_write_item(self, request: Any) -> Response:
        self._meter.call("BatchWriteItem")
        for name, writes in request["RequestItems"].items():
            self._table(name).write(writes)
        return {"UnprocessedItems": {}}

    def _transact_write_items(self, request: Any) -> Response:
        """A subscription begins, or ends: what concerns its member comes last and has no condition."""
        self._meter.call("TransactWriteItems")
        *of_subscription, last = request["TransactItems"]
        of_member = last if "Put" in last and self._table(last["Put"]["TableName"]) is self._channels else None
        self._connections.transact(of_subscription if of_member else request["TransactItems"])
        if of_member:
            self._channels.put_member(of_member["Put"]["Item"], "TransactWriteItems", is_transaction=True)
        return {}

    async def _call_late(self, operation: Operation, request: Any) -> Response:
        """Half of the time is the request's way, half the response's."""
        await asyncio.sleep(self._latency_s / 2)
        try:
            response = operation(request)
        finally:
            await asyncio.sleep(self._latency_s / 2)
        if not isinstance(response, dict):
            raise AssertionError("no operation of a table responds later by itself")
        return response

    def _fill(self, query: Query) -> Response:
        return {"filling": self._connections.fill(query["channel"], int(query["subscribers"])).number}

    def _reset(self, _: Query) -> Response:
        self._meter.reset()
        return {}


def _table_name(request: Any) -> str:
    match request:
        case {"TableName": str(name)}:
            return name
    (only,) = request["RequestItems"]
    return str(only)


def _get_secret_value(request: Any) -> Response:
    return {"ARN": request["SecretId"], "SecretString": json.dumps([os.environ["JWT_SECRET"]])}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--latency", type=float, default=0.0)
    run(DynamoDb(parser.parse_args().latency))
