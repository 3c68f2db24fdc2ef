"""`python -m examples.chat` as a program that a test starts, talks to, and ends."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
SECRET = "a-secret-of-more-than-thirty-two-bytes"
PATIENCE_S = 30


@dataclass(frozen=True)
class Ended:
    status: int
    said: str
    complained: str


class ChatProgram:
    """Starts the program in a process group of its own, and reads its output up to the page's URL."""

    def __init__(self, outputs: Path, *, port: int = 0, backend_port: int = 0) -> None:
        self._outputs = outputs
        self._process = subprocess.Popen(
            [sys.executable, "-m", "examples.chat"],
            cwd=ROOT,
            env=environment(outputs, PORT=str(port), BACKEND_PORT=str(backend_port)),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        self.page = ""
        for line in self._process.stdout:
            if url := re.fullmatch(r"Open (http://127\.0\.0\.1:\d+/) in two tabs\n", line):
                self.page = url[1]
                break

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def backend_pid(self) -> int:
        (child,) = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return int(child)

    @property
    def websocket_url(self) -> str:
        return self._output("websocketUrl")

    @property
    def control_api(self) -> str:
        return self._output("controlApi")

    def end(self, number: int = signal.SIGINT) -> Ended:
        """Signal the whole process group, as Ctrl-C in a terminal does, and wait."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)
        return self.wait()

    def wait(self) -> Ended:
        """Wait also for all that the program started: a pipe ends with the last process that has it."""
        said, complained = self._process.communicate(timeout=PATIENCE_S)
        return Ended(self._process.returncode, said, complained)

    def _output(self, name: str) -> str:
        return str(json.loads(self._outputs.read_text())["slip-sockets"][name])


@contextlib.contextmanager
def running_chat(outputs: Path, *, port: int = 0, backend_port: int = 0) -> Iterator[ChatProgram]:
    chat = ChatProgram(outputs, port=port, backend_port=backend_port)
    try:
        if not chat.page:
            raise AssertionError(f"the chat did not start: {chat.wait()}")
        yield chat
    finally:
        if chat._process.poll() is None:
            chat.end(signal.SIGTERM)


def environment(outputs: Path, **more: str) -> dict[str, str]:
    ours = {"JWT_SECRET": SECRET, "OUTPUTS": str(outputs), **more}
    return {name: value for name, value in os.environ.items() if name != "STACK_NAME"} | ours
