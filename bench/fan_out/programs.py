"""The functions of a case, each a process of its own with what calls it."""

from __future__ import annotations

import signal

import msgspec

from ..errors import BenchError
from ..stubs.programs import Program
from .reports import Footprint, Publish, Published, Sent


class FunctionProgram(Program):
    """`environment` is a function's. `ready` waits for the cold start."""

    module: str

    def __init__(self, environment: dict[str, str]) -> None:
        super().__init__(f"{__package__}.{self.module}", environment=environment)

    def ready(self) -> None:
        if self.read() != b"ready":
            raise BenchError(f"{self.name} did not start:\n{self.log()}")

    def stop(self) -> None:
        raise NotImplementedError

    def finish(self) -> Footprint:
        """Let it finish its message or its call, and return what it has used."""
        self.stop()
        return msgspec.json.decode(self.read(), type=Footprint)


class WorkerProgram(FunctionProgram):
    """The queue's function."""

    module = "worker"

    def stop(self) -> None:
        self.signal(signal.SIGTERM)


class PublisherProgram(FunctionProgram):
    """The control API's function."""

    module = "publisher"

    def stop(self) -> None:
        self.end_input()

    def begin(self, publish: Publish) -> None:
        self.write(msgspec.json.encode(publish))

    def response(self) -> Published:
        """Wait for the end of what was begun. Raises BenchError where it was refused."""
        published = msgspec.json.decode(self.read(), type=Published)
        if published.status != 200:
            raise BenchError(f"the control API responded with {published.status}: {published.body}\n{self.log()}")
        return published

    def publish(self, publish: Publish) -> Published:
        self.begin(publish)
        return self.response()


def send(environment: dict[str, str], count: int, text_bytes: int, threads: int | None) -> Sent:
    """Have one process send a text to `count` connections, with our sender or with boto3 in threads."""
    arguments = [str(count), "--bytes", str(text_bytes), *(["--threads", str(threads)] if threads is not None else [])]
    with Program(f"{__package__}.sending", *arguments, environment=environment) as program:
        return msgspec.json.decode(program.read(), type=Sent)
