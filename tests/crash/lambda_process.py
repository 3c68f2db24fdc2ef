"""What runs a function so that it can be killed: `python -m tests.crash.lambda_process`.

It imports the three functions once, and says that it is ready. For each line that it reads, `[function, event]` in
JSON, it forks: the child says its process id, then what the function answered; when the child has ended, the parent
says so. A fork is what a warm environment is, and costs milliseconds.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from typing import Any, NoReturn

LEFT_S = 30


class Context:
    def get_remaining_time_in_millis(self) -> int:
        return LEFT_S * 1000


def main() -> None:
    modules = {name: importlib.import_module(f"functions.{name}") for name in ("websocket", "control", "deliver")}
    _say("ready")
    for line in sys.stdin:
        name, event = json.loads(line)
        child = os.fork()
        if not child:
            _run(modules[name].handler, event)
        os.waitpid(child, 0)
        _say("ended")


def _run(handler: Any, event: Any) -> NoReturn:
    _say(os.getpid())
    try:
        _say(handler(event, Context()))
    finally:
        os._exit(0)


def _say(told: object) -> None:
    print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
