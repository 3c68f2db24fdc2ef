"""What is measured: each case is a function that returns its figures. Times are processor time, except in `added`."""

from __future__ import annotations

import contextlib
import os
import platform
import resource
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import files
from pathlib import Path
from statistics import median
from typing import Any

from stacks.function_package import FunctionPackage, build
from stacks.settings import Architecture

from ..errors import BenchError
from ..figures import Figure
from ..stubs.cloud import Cloud
from ..stubs.programs import Stub
from . import events
from .added import BACKEND, parts_s
from .frozen import first_calls
from .handshakes import context_s, handshake_s
from .runtime import Environment

ROOT = Path(__file__).parents[2]
PACKAGES = ("requests", "pyjwt", "certifi", "charset-normalizer", "idna")
"""What the yardstick needs besides boto3."""
IMPORTS = """
import os, sys
sys.path.append(os.environ["YARDSTICK_PACKAGES"])
import boto3, requests, jwt
boto3.client("dynamodb")
boto3.client("apigatewaymanagementapi", endpoint_url=os.environ["MANAGEMENT_URL"])
"""
COLD_AT_MOST = 0.30
COLD_WITHOUT_BYTECODE_AT_MOST = 0.55
WARM_AT_MOST = {"connect": 0.35, "message": 0.25, "disconnect": 0.30}
MEMORY_AT_MOST_MB = 30
AFTER_A_RESET_AT_MOST_MS = 5
"""A pause would be of a connect's timeout or of a retry's backoff: some hundred."""
FIRST_EVENTS: Mapping[str, Callable[[], dict[str, Any]]] = {
    "websocket": lambda: events.message(0),
    "control": events.publish,
    "deliver": lambda: events.deferred(0),
}


@dataclass(frozen=True, slots=True)
class Sizes:
    """`batch` is how many events of a kind are measured together."""

    rounds: int = 10
    batch: int = 100
    warm_up: int = 20


QUICK = Sizes(rounds=2, batch=10, warm_up=3)


@dataclass(frozen=True, slots=True)
class Place:
    """Where functions run: `task` is the unpacked zip, `sources` the same without bytecode, like a zip that was built
    with another Python; `variables` are those of the functions and of the yardstick."""

    python: Path
    task: Path
    sources: Path
    variables: Mapping[str, str]
    cloud: Cloud

    def reset_calls(self) -> None:
        self.cloud.dynamodb.post("/reset")
        self.cloud.management.reset()

    def calls(self) -> dict[str, int]:
        """Return the number of calls of AWS since `reset_calls`, by operation."""
        stats = self.cloud.dynamodb.get("/stats")
        return {name: units["calls"] for name, units in stats.items()} | {
            "post": self.cloud.management.received().calls
        }

    def start(self, name: str, *, is_compiled: bool = True) -> Environment:
        task = self.task if is_compiled else self.sources
        return Environment(self.python, task, f"functions.{name}.handler", self.variables)

    def start_naive(self) -> Environment:
        return Environment(self.python, Path(__file__).parent, "naive.handler", self.variables)

    def imports_s(self) -> float:
        """Return the seconds of the cold start's yardstick."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([self.python, "-c", IMPORTS], env=dict(self.variables), check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@contextlib.contextmanager
def place() -> Iterator[Place]:
    """Yield the deployed zip for this machine, over stubs of AWS and of a backend."""
    python, package = _python(), _package()
    with tempfile.TemporaryDirectory() as scratch, Cloud() as cloud:
        task, packages = Path(scratch) / "task", Path(scratch) / "packages"
        sources = Path(scratch) / "sources"
        with zipfile.ZipFile(package.path) as archive:
            archive.extractall(task)
            archive.extractall(sources, [name for name in archive.namelist() if not name.endswith(".pyc")])
        _link(PACKAGES, packages)
        with Stub("backend", "--channel", events.CHANNEL) as backend:
            variables = {
                **cloud.environment,
                "STACK_NAME": "bench",
                "AWS_REGION": cloud.environment["AWS_DEFAULT_REGION"],
                "TARGET_URL": f"{backend.url}/slip",
                "YARDSTICK_PACKAGES": str(packages),
            }
            yield Place(python, task, sources, variables, cloud)


def cold(sizes: Sizes) -> list[Figure]:
    """From the process's start to its first poll, and what the first event takes beyond a warm one."""
    kinds = [(name, name, True) for name in FIRST_EVENTS] + [("websocket, no bytecode", "websocket", False)]
    yardstick: list[float] = []
    started: dict[str, list[float]] = {kind: [] for kind, _, _ in kinds}
    whole: dict[str, list[float]] = {kind: [] for kind, _, _ in kinds}
    with place() as here:
        with here.start("websocket") as environment:
            environment.start()
            _expect(environment.invoke(events.connect(0)))
        for _ in range(sizes.rounds):
            yardstick.append(here.imports_s())
            for kind, name, is_compiled in kinds:
                event = FIRST_EVENTS[name]
                with here.start(name, is_compiled=is_compiled) as environment:
                    environment.start()
                    to_poll_s = environment.cpu_s
                    _expect(environment.invoke(event()))
                    first_s = environment.cpu_s - to_poll_s
                    warm_s = _each(environment, [event() for _ in range(sizes.warm_up)])
                started[kind].append(to_poll_s)
                whole[kind].append(to_poll_s + first_s - warm_s)
    figures = [Figure("yardstick: imports, two clients", median(yardstick) * 1000, "ms")]
    for kind, _, is_compiled in kinds:
        taken, at_most = whole[kind], COLD_AT_MOST if is_compiled else COLD_WITHOUT_BYTECODE_AT_MOST
        figures += [
            Figure(f"{kind}: to the first poll", median(started[kind]) * 1000, "ms"),
            Figure(f"{kind}: with the first event's extra", median(taken) * 1000, "ms"),
            Figure(f"{kind}: to the yardstick", median(taken) / median(yardstick), at_most=at_most),
        ]
    return figures


def warm(sizes: Sizes) -> list[Figure]:
    """An event in a function that has handled some, and the same calls made with boto3 and requests."""
    kinds = {"connect": events.connect, "message": events.message, "disconnect": events.disconnect}
    spent: dict[str, dict[str, list[float]]] = {kind: {"ours": [], "naive": []} for kind in kinds}
    with place() as here, here.start("websocket") as ours, here.start_naive() as naive:
        numbers = iter(range(10**9))
        for environment in (ours, naive):
            environment.start()
            for event in kinds.values():
                _each(environment, [event(number) for number in range(sizes.warm_up)])
        for _ in range(sizes.rounds):
            for program, environment in (("ours", ours), ("naive", naive)):
                batch = [next(numbers) for _ in range(sizes.batch)]
                for kind, event in kinds.items():
                    spent[kind][program].append(_each(environment, [event(number) for number in batch]))
    figures = []
    for kind, taken in spent.items():
        mine, theirs = median(taken["ours"]), median(taken["naive"])
        figures += [
            Figure(f"{kind}: ours", mine * 1000, "ms"),
            Figure(f"{kind}: boto3 and requests", theirs * 1000, "ms"),
            Figure(f"{kind}: ours to theirs", mine / theirs, at_most=WARM_AT_MOST[kind]),
        ]
    return figures


def memory(sizes: Sizes) -> list[Figure]:
    """Resident memory of functions that have handled some events."""
    figures = []
    with place() as here:
        with here.start("websocket") as environment:
            environment.start()
            _expect(environment.invoke(events.connect(0)))
        for name, event in FIRST_EVENTS.items():
            with here.start(name) as environment:
                environment.start()
                _each(environment, [event() for _ in range(sizes.batch)])
                figures.append(Figure(name, environment.resident_mb, "MB", at_most=MEMORY_AT_MOST_MB))
        with here.start_naive() as environment:
            environment.start()
            _each(environment, [events.message(0) for _ in range(sizes.batch)])
            figures.append(Figure("boto3 and requests", environment.resident_mb, "MB"))
    return figures


def tls(sizes: Sizes) -> list[Figure]:
    """What TLS adds on AWS: the context once, a handshake for each connection."""
    return [
        Figure("context", median(context_s() for _ in range(sizes.rounds)) * 1000, "ms"),
        Figure("handshake", handshake_s(sizes.batch) * 1000, "ms"),
    ]


def frozen(sizes: Sizes) -> list[Figure]:
    """The first call after a freeze, over a connection that the peer has reset meanwhile."""
    calls = first_calls(sizes.batch)
    return [
        Figure("a call over a kept connection", calls.kept_s * 1000, "ms"),
        Figure("over a new one", calls.new_s * 1000, "ms"),
        Figure("over one that was reset meanwhile", calls.after_reset_s * 1000, "ms", at_most=AFTER_A_RESET_AT_MOST_MS),
    ]


def added(sizes: Sizes) -> list[Figure]:
    """The time that a text message takes in the local AWS, by part. The backend responds at once."""
    python, package = _python(), _package()
    with Stub("backend", "--channel", events.CHANNEL) as backend:
        parts = parts_s(python, package.path, f"{backend.url}/slip", sizes.batch)
    whole = Figure("a message, on top of the backend's own", (sum(parts.values()) - parts[BACKEND]) * 1000, "ms")
    return [whole, *(Figure(name, seconds * 1000, "ms") for name, seconds in parts.items())]


CASES: Mapping[str, Callable[[Sizes], list[Figure]]] = {
    "cold": cold,
    "warm": warm,
    "memory": memory,
    "tls": tls,
    "frozen": frozen,
    "added": added,
}


def _python() -> Path:
    """Return the Python that has awslambdaric and boto3."""
    python = Path(os.environ.get("LOCAL_AWS_RUNTIME_PYTHON") or ROOT / ".venv-lambda" / "bin" / "python")
    if not python.exists():
        raise BenchError(f"{python} does not exist. Make it: make set-up-lambda")
    return python


def _package() -> FunctionPackage:
    """Return the zip for this machine."""
    architecture: Architecture = "arm64" if platform.machine() == "aarch64" else "x86_64"
    return build(architecture, f"{sys.version_info.major}.{sys.version_info.minor}")


def _each(environment: Environment, batch: Sequence[object]) -> float:
    """Return the mean of the batch, in seconds."""
    before = environment.cpu_s
    for event in batch:
        _expect(environment.invoke(event))
    return (environment.cpu_s - before) / len(batch)


def _expect(response: Any) -> None:
    if response != {"batchItemFailures": []} and response.get("statusCode") != 200:
        raise BenchError(f"the function returned {response}")


def _link(packages: Sequence[str], folder: Path) -> None:
    """Make a folder with these packages of this environment, and nothing else."""
    folder.mkdir()
    for package in packages:
        for file in files(package) or ():
            top, target = file.parts[0], folder / file.parts[0]
            if top != ".." and not top.endswith(".dist-info") and not target.is_symlink():
                target.symlink_to(Path(str(file.locate())).resolve().parents[len(file.parts) - 1] / top)
