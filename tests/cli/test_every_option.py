"""Every option, argument and variable of every command with values that users give it by mistake.

The list is typer's own, so that the next option is in it. All runs in this process; `test_machine.py` has programs.
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from slip_sockets.client import control_client
from slip_sockets.dev.server import DevServer

from ..conftest import SECRET
from .conftest import Cli
from .test_app import ALL

NOWHERE = "http://127.0.0.1:1/"
NOT_UTF_8 = "caf\udce9"
"""What Python makes of the byte 0xE9 in an argument or a variable."""
VALUES = (
    *(
        "",
        " ",
        "\t",
        NOT_UTF_8,
        "x" * 300,
        "x" * 100_000,
        "😀",
        "a\r\nb",
        "\x1b[31m",
        "[red]x[/]",
        "-",
        "--",
        "{}",
        "%s",
    ),
    *("-1", "0", "1e308", "nan", "inf", "-inf", str(2**63), "9" * 400, "9" * 5_000, "none", "a=b", "a: b", "a,,b"),
    *(
        "folder",
        "missing",
        "missing/file",
        "latin-1",
        "utf-16",
        "mark",
        "list",
        "void",
        "nested",
        "/dev/null",
        "/dev/full",
    ),
    *("/dev/zero", "http://", "http://.example/", "http://[", "http://x:99999/", "eu-west-1"),
)
SECRETS = ("--jwt-secret", SECRET)
REST: dict[str, tuple[str, ...]] = {
    "dev": ("--target-url", NOWHERE, *SECRETS, "--port", "0"),
    "check": (NOWHERE, *SECRETS),
    "publish": ("lobby", "hi", *SECRETS),
    "history": ("lobby", *SECRETS),
    "members": ("lobby", *SECRETS),
    "send": ("L0SM9cOFvHcCIhw=", "hi", *SECRETS),
    "close": ("L0SM9cOFvHcCIhw=", *SECRETS),
    "doctor": SECRETS,
    "redrive": ("--region", "eu-west-1"),
    "token mint": SECRETS,
    "token inspect": ("x.y.z", *SECRETS),
}
"""Arguments with which each command begins its work; the ones that are not here need none."""
ENVIRONMENT = {
    "AWS_ENDPOINT_URL": NOWHERE,
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_EC2_METADATA_DISABLED": "true",
}


@dataclass(frozen=True)
class Place:
    """Where a command takes a value: an option, an argument, or the variable `variable`."""

    command: str
    parameter: Any
    variable: str = ""

    @property
    def option(self) -> str:
        return str(max(self.parameter.opts, key=len))

    @property
    def name(self) -> str:
        return self.variable or self.parameter.metavar or self.option

    def arguments(self, value: str) -> list[str]:
        """Return a command line in which `value`, and nothing else of it, is wrong."""
        rest = list(REST.get(self.command, ()))
        if self.parameter.param_type_name == "argument":
            of_command = [each for each in ALL[self.command].params if each.param_type_name == "argument"]
            place = of_command.index(self.parameter)
            if self.variable:
                del rest[place]
            else:
                options = [word for word in SECRETS if word in rest]
                words = rest[: len(rest) - len(options)]
                words[place] = value
                rest = [*options, "--", *words]
        else:
            if self.option in rest:
                at = rest.index(self.option)
                del rest[at : at + 2]
            rest += [] if self.variable else [self.option, value]
        return [*self.command.split(), *rest]


def places() -> Iterator[Place]:
    for command, each in ALL.items():
        for parameter in each.params:
            if getattr(parameter, "is_flag", False) or parameter.name == "help":
                continue
            yield Place(command, parameter)
            if parameter.envvar:
                yield Place(command, parameter, parameter.envvar)


PLACES = list(places())


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with files of all kinds and a deployment that does not run; `dev` in it ends as by Ctrl-C."""
    outputs = {"controlApi": NOWHERE, "websocketUrl": "ws://127.0.0.1:1/", "targetUrl": NOWHERE, "region": "local"}
    text = json.dumps({"slip-sockets": outputs})
    (tmp_path / "folder").mkdir()
    (tmp_path / "cdk-outputs.json").write_text(text)
    (tmp_path / "mark").write_text(f"\ufeff{text}")
    (tmp_path / "utf-16").write_text(text, encoding="utf-16")
    (tmp_path / "latin-1").write_bytes(b'{"caf\xe9": {}}')
    (tmp_path / "list").write_text("[]")
    (tmp_path / "void").touch()
    (tmp_path / "nested").write_text('{"slip-sockets": {"x": ' + "[" * 200_000)
    start = DevServer.start

    async def start_and_stop(self: DevServer) -> None:
        await start(self)
        asyncio.get_running_loop().call_soon(signal.raise_signal, signal.SIGINT)

    monkeypatch.setattr(DevServer, "start", start_and_stop)
    monkeypatch.setattr(control_client, "RETRY_DELAYS_S", ())
    monkeypatch.setattr(random, "random", lambda: 0.0)  # no pauses before repetitions
    return tmp_path


def run(cli: Cli, arguments: Sequence[str], **environment: str) -> Result:
    return cli(*arguments, stdin=b"\xff", **ENVIRONMENT, **environment)


def is_orderly(result: Result) -> bool:
    has_raised = result.exception is not None and not isinstance(result.exception, SystemExit)
    has_text = result.exit_code == 0 or bool(result.stdout or result.stderr)
    return result.exit_code in (0, 1, 2) and not has_raised and has_text and "Traceback" not in result.output


@pytest.mark.parametrize("place", PLACES, ids=lambda place: f"{place.command} {place.name}")
def test_no_value_ends_in_a_traceback_or_leaves_a_file(cli: Cli, folder: Path, place: Place) -> None:
    before = {path.name for path in folder.rglob("*")}
    disorderly: dict[str, tuple[int, object, str]] = {}
    for value in VALUES:
        environment = {place.variable: value} if place.variable else {}
        result = run(cli, place.arguments(value), **environment)
        if not is_orderly(result):
            disorderly[value[:100]] = (result.exit_code, result.exception, result.output)
        new = {path.name for path in folder.rglob("*")} - before
        if place.command == "dev" and result.exit_code == 0:  # its outputs file stays
            for name in new:
                (folder / name).unlink()
        elif new:
            disorderly[value[:100]] = (result.exit_code, new, "")
    assert disorderly == {}


TEXTS = [place for place in PLACES if place.option not in ("--outputs", "--prices")]
"""A path may have any bytes."""


@pytest.mark.parametrize("place", TEXTS, ids=lambda place: f"{place.command} {place.name}")
def test_bytes_that_are_not_utf_8_are_refused_by_name(cli: Cli, folder: Path, place: Place) -> None:
    result = run(cli, place.arguments(NOT_UTF_8), **({place.variable: NOT_UTF_8} if place.variable else {}))
    assert (result.exit_code, result.stdout) == (2, "")
    assert place.name in result.stderr or place.option in result.stderr
    assert "not UTF-8" in result.stderr or "Invalid value" in result.stderr


NUMBERS = [
    place for place in PLACES if "float" in str(ALL[place.command].callback.__annotations__.get(place.parameter.name))
]


@pytest.mark.parametrize("place", NUMBERS, ids=lambda place: f"{place.command} {place.name}")
def test_nan_is_refused_by_name(cli: Cli, folder: Path, place: Place) -> None:
    result = run(cli, place.arguments("nan"))
    assert (result.exit_code, result.stdout) == (2, "")
    assert place.option in result.stderr or place.option.strip("-").replace("-", " ") in result.stderr


def test_there_are_numbers_texts_and_variables() -> None:
    assert len(NUMBERS) > 10
    assert {place.variable for place in PLACES} > {"TARGET_URL", "JWT_SECRET", "JWT_PREVIOUS_SECRETS", "STACK_NAME"}


AWS_VALUES = ("", " ", NOT_UTF_8, "x" * 5_000, "nan", "-1", "folder", "missing", "latin-1", "é", "a\nb")


@pytest.mark.parametrize(
    "variable",
    [
        *("AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "HOME"),
        *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_CA_BUNDLE", "AWS_MAX_ATTEMPTS"),
        *("AWS_RETRY_MODE", "AWS_STS_REGIONAL_ENDPOINTS", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_SQS"),
    ],
)
def test_a_variable_of_aws_never_ends_in_a_traceback(cli: Cli, folder: Path, variable: str) -> None:
    results = {}
    for value in AWS_VALUES:
        if variable == "AWS_ENDPOINT_URL" and not value:  # that would be AWS itself
            continue
        environment = {**ENVIRONMENT, variable: value}
        results[value] = cli("redrive", "--region", "eu-west-1", **environment)
    assert {value: result for value, result in results.items() if not is_orderly(result) or not result.exit_code} == {}
