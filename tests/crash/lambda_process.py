"""Runs functions that can be killed: `python -m tests.crash.lambda_process`.

For each line that it reads, `[function, event]` in JSON, it forks: the child prints its process id, then the function's
response; when the child has ended, the parent prints "ended". Each event is a cold start. The parent has imported the
package before, so that it takes milliseconds; it starts no function, since an event loop does not survive a fork.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from typing import Any, NoReturn

import slip_sockets.aws.lambda_function  # noqa: F401 - for the children
from slip_sockets.aws import client, consumer
from slip_sockets.http.client import Timeouts

LEFT_S = {"websocket": 29, "control": 29, "deliver": 60}
"""The functions' timeouts, as the stacks deploy them."""

client.TIMEOUTS = Timeouts(connect_s=20, first_byte_s=20, total_s=25)  # no call is repeated where the machine is slow
consumer.RELEASED_AFTER_S = 0  # each group is released by a call of its own, at which the function can be killed


class Context:
    aws_request_id = ""

    def __init__(self, left_s: int) -> None:
        self._left_s = left_s

    def get_remaining_time_in_millis(self) -> int:
        return self._left_s * 1000


def main() -> None:
    _print("ready")
    for line in sys.stdin:
        name, event = json.loads(line)
        child = os.fork()
        if not child:
            _run(name, event)
        os.waitpid(child, 0)
        _print("ended")


def _run(name: str, event: Any) -> NoReturn:
    _print(os.getpid())
    try:
        handler = importlib.import_module(f"functions.{name}").handler
        _print(handler(event, Context(LEFT_S[name])))
    finally:
        os._exit(0)


def _print(value: object) -> None:
    print(json.dumps(value), flush=True)


if __name__ == "__main__":
    main()
