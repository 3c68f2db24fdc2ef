"""What is measured: each case is a function that returns its figures. Times are of the processor."""

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
from ..fan_out.cloud import Cloud
from ..fan_out.programs import Stub
from ..fan_out.results import Figure
from . import events
from .added import BACKEND, parts_s
from .handshakes import context_s, handshake_s
from .runtime import Environment

ROOT = Path(__file__).parents[2]
PACKAGES = ("requests", "pyjwt", "certifi", "charset-normalizer", "idna")
"""What the yardstick needs beside boto3."""
IMPORTS = """
import os, sys
sys.path.append(os.environ["YARDSTICK_PACKAGES"])
import boto3, requests, jwt
boto3.client("dynamodb")
boto3.client("apigatewaymanagementapi", endpoint_url=os.environ["MANAGEMENT_URL"])
"""
COLD_AT_MOST = 0.75
WARM_AT_MOST = 0.6
FIRST_EVENTS: Mapping[str, Callable[[], dict[str, Any]]] = {
    "websocket": lambda: events.frame(0),
    "control": events.publish,
    "deliver": lambda: events.deferred(0),
}


@dataclass(frozen=True, slots=True)
class Sizes:
    """`batch` are events of a kind that are measured at once."""

    rounds: int = 10
    batch: int = 100
    warm_up: int = 20


QUICK = Sizes(rounds=2, batch=10, warm_up=3)


@dataclass(frozen=True, slots=True)
class Place:
    """Where functions run: `task` is the unpacked zip, `sources` the same without bytecode, as one that another Python
    has built; `variables` are theirs and the yardstick's."""

    python: Path
    task: Path
    sources: Path
    variables: Mapping[str, str]
    cloud: Cloud

    def forget(self) -> None:
        """Count what is asked of AWS anew."""
        self.cloud.dynamodb.post("/reset")
        self.cloud.management.reset()

    def asked(self) -> dict[str, int]:
        """Return how often AWS was called, by operation."""
        stats = self.cloud.dynamodb.get("/stats")
        return {name: used["calls"] for name, used in stats.items()} | {"post": self.cloud.management.calls()}

    def start(self, name: str, *, is_compiled: bool = True) -> Environment:
        task = self.task if is_compiled else self.sources
        return Environment(self.python, task, f"functions.{name}.handler", self.variables)

    def start_naive(self) -> Environment:
        return Environment(self.python, Path(__file__).parent, "naive.handler", self.variables)

    def imports_s(self) -> float:
        """Return what the cold start's yardstick takes."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([self.python, "-c", IMPORTS], env=dict(self.variables), check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@contextlib.contextmanager
def place() -> Iterator[Place]:
    """The deployed zip for this machine, over stubs of AWS and a backend that does next to nothing."""
    python, package = _python(), _package()
    with tempfile.TemporaryDirectory() as scratch, Cloud() as cloud:
        task, packages = Path(scratch) / "task", Path(scratch) / "packages"
        sources = Path(scratch) / "sources"
        with zipfile.ZipFile(package.path) as archive:
            archive.extractall(task)
            archive.extractall(sources, [name for name in archive.namelist() if not name.endswith(".pyc")])
        _link(PACKAGES, packages)
        with Stub("backend", "--channel", events.CHANNEL, package="bench") as backend:
            variables = {
                **cloud.environment,
                "STACK_NAME": "bench",
                "AWS_REGION": cloud.environment["AWS_DEFAULT_REGION"],
                "TARGET_URL": f"{backend.url}/slip",
                "YARDSTICK_PACKAGES": str(packages),
            }
            yield Place(python, task, sources, variables, cloud)


def cold(sizes: Sizes) -> list[Figure]:
    """From the process's start to its first poll, and what the first event takes more than a warm one."""
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
    for kind, taken in whole.items():
        figures += [
            Figure(f"{kind}: to the first poll", median(started[kind]) * 1000, "ms"),
            Figure(f"{kind}: with the first event's extra", median(taken) * 1000, "ms"),
            Figure(f"{kind}: to the yardstick", median(taken) / median(yardstick), at_most=COLD_AT_MOST),
        ]
    return figures


def warm(sizes: Sizes) -> list[Figure]:
    """An event in a function that has had some, and the same calls made with boto3 and requests."""
    kinds = {"connect": events.connect, "frame": events.frame, "disconnect": events.disconnect}
    spent: dict[str, dict[str, list[float]]] = {kind: {"ours": [], "naive": []} for kind in kinds}
    with place() as here, here.start("websocket") as ours, here.start_naive() as naive:
        numbers = iter(range(10**9))
        for environment in (ours, naive):
            environment.start()
            for event in kinds.values():
                _each(environment, [event(number) for number in range(sizes.warm_up)])
        for _ in range(sizes.rounds):
            for whose, environment in (("ours", ours), ("naive", naive)):
                batch = [next(numbers) for _ in range(sizes.batch)]
                for kind, event in kinds.items():
                    spent[kind][whose].append(_each(environment, [event(number) for number in batch]))
    figures = []
    for kind, taken in spent.items():
        mine, theirs = median(taken["ours"]), median(taken["naive"])
        figures += [
            Figure(f"{kind}: ours", mine * 1000, "ms"),
            Figure(f"{kind}: boto3 and requests", theirs * 1000, "ms"),
            Figure(f"{kind}: ours to theirs", mine / theirs, at_most=WARM_AT_MOST),
        ]
    return figures


def memory(sizes: Sizes) -> list[Figure]:
    """Resident memory of functions that have had some events."""
    figures = []
    with place() as here:
        with here.start("websocket") as environment:
            environment.start()
            _expect(environment.invoke(events.connect(0)))
        for name, event in FIRST_EVENTS.items():
            with here.start(name) as environment:
                environment.start()
                _each(environment, [event() for _ in range(sizes.batch)])
                figures.append(Figure(name, environment.resident_mb, "MB"))
        with here.start_naive() as environment:
            environment.start()
            _each(environment, [events.frame(0) for _ in range(sizes.batch)])
            figures.append(Figure("boto3 and requests", environment.resident_mb, "MB"))
    return figures


def tls(sizes: Sizes) -> list[Figure]:
    """What comes on top on AWS, where all is TLS: the context once, a handshake for each connection."""
    return [
        Figure("context", median(context_s() for _ in range(sizes.rounds)) * 1000, "ms"),
        Figure("handshake", handshake_s(sizes.batch) * 1000, "ms"),
    ]


def added(sizes: Sizes) -> list[Figure]:
    """The time that a frame takes in the local AWS, by part. The backend answers at once."""
    python, package = _python(), _package()
    with Stub("backend", "--channel", events.CHANNEL, package="bench") as backend:
        parts = parts_s(python, package.path, f"{backend.url}/slip", sizes.batch)
    whole = Figure("a frame, on top of the backend's own", (sum(parts.values()) - parts[BACKEND]) * 1000, "ms")
    return [whole, *(Figure(name, seconds * 1000, "ms") for name, seconds in parts.items())]


CASES: Mapping[str, Callable[[Sizes], list[Figure]]] = {
    "cold": cold,
    "warm": warm,
    "memory": memory,
    "tls": tls,
    "added": added,
}


def _python() -> Path:
    """Return the Python that has awslambdaric and boto3."""
    python = Path(os.environ.get("LOCAL_AWS_RUNTIME_PYTHON") or ROOT / ".venv-lambda" / "bin" / "python")
    if not python.exists():
        raise BenchError(f"{python} is not there; make set-up-lambda makes it")
    return python


def _package() -> FunctionPackage:
    """Return the zip for this machine."""
    architecture: Architecture = "arm64" if platform.machine() == "aarch64" else "x86_64"
    return build(architecture, f"{sys.version_info.major}.{sys.version_info.minor}")


def _each(environment: Environment, batch: Sequence[object]) -> float:
    """Return what each of them took, in seconds."""
    before = environment.cpu_s
    for event in batch:
        _expect(environment.invoke(event))
    return (environment.cpu_s - before) / len(batch)


def _expect(answer: Any) -> None:
    if answer != {"batchItemFailures": []} and answer.get("statusCode") != 200:
        raise BenchError(f"the function answered {answer}")


def _link(packages: Sequence[str], folder: Path) -> None:
    """Make a folder with these packages of this environment, and nothing else."""
    folder.mkdir()
    for package in packages:
        for file in files(package) or ():
            top, target = file.parts[0], folder / file.parts[0]
            if top != ".." and not top.endswith(".dist-info") and not target.is_symlink():
                target.symlink_to(Path(str(file.locate())).resolve().parents[len(file.parts) - 1] / top)
