"""All checks together, over a development server, and what becomes of those that cannot be made."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from slip_sockets.cli.app import app
from slip_sockets.client.outputs import Outputs
from slip_sockets.dev.server import DevServer, DevSettings
from slip_sockets.dialects import Dialect
from slip_sockets.doctor import examine as examine_module
from slip_sockets.doctor import queues
from slip_sockets.doctor.account import Account
from slip_sockets.doctor.examine import GROUPS, examine
from slip_sockets.doctor.findings import CannotCheck, Finding, Verdict, fine
from slip_sockets.doctor.settings import DoctorSettings
from slip_sockets.doctor.threads import in_thread

from ..check.backends import SECRET, Handler, serving, taking
from ..check.test_grip import good as good_in_grip
from ..conftest import KEY_OF_A_PAIR
from ..docs.markdown import Page
from ..grip.backend import GripScript
from .examined import settings

FINE, WRONG, UNKNOWN = Verdict.FINE, Verdict.WRONG, Verdict.UNKNOWN
OURS: dict[str, str | None] = dict.fromkeys(
    ("TARGET_URL", "JWT_SECRET", "JWT_PREVIOUS_SECRETS", "STACK_NAME", "AWS_PROFILE")
)
OUTSIDE = ["outputs", "websocket-url", "control-url", "secret", "clock", "socket", "backend"]


async def found(examined: DoctorSettings) -> list[Finding]:
    return [finding async for finding in examine(examined)]


def checks(findings: list[Finding], verdict: Verdict) -> list[str]:
    return [finding.check for finding in findings if finding.verdict is verdict]


async def run_beside(
    tmp_path: Path,
    handler: Handler,
    *arguments: str,
    do: Callable[[Path], None] = lambda path: None,
    **environment: str,
) -> Result:
    """Run the command beside a development server in front of a backend. `do` changes the outputs file before."""
    async with serving(handler) as url:
        settings = DevSettings(url, SECRET, port=0, outputs_path=tmp_path / "cdk-outputs.dev.json")
        return await run_beside_server(settings, *arguments, do=do, **environment)


async def run_beside_server(
    settings: DevSettings, *arguments: str, do: Callable[[Path], None] = lambda path: None, **environment: str
) -> Result:
    path = settings.outputs_path
    assert path is not None
    async with DevServer(settings):
        do(path)
        environ = OURS | {"NO_COLOR": "1", "JWT_SECRET": SECRET} | environment
        return await asyncio.to_thread(
            CliRunner().invoke, app, ["doctor", "--outputs", str(path), *arguments], env=environ
        )


async def test_a_development_server_is_examined_from_outside(tmp_path: Path) -> None:
    result = await run_beside(tmp_path, taking(), "--json")
    document = json.loads(result.stdout)
    assert (result.exit_code, result.stderr, document["ok"]) == (0, "", True)
    assert document["counts"] == {"fine": 7, "wrong": 0, "unknown": 1 + len(GROUPS["From inside"])}
    assert [each["check"] for each in document["findings"] if each["verdict"] == "fine"] == OUTSIDE


async def test_backend_that_speaks_grip_is_checked_in_grip(tmp_path: Path) -> None:
    backend = GripScript(good_in_grip)
    await backend.start()
    path = tmp_path / "cdk-outputs.dev.json"
    settings = DevSettings(backend.url, SECRET, port=0, outputs_path=path, backend_protocol=Dialect.GRIP)
    result = await run_beside_server(settings, "--json")
    await backend.aclose()
    findings = json.loads(result.stdout)["findings"]
    (finding,) = [each for each in findings if each["check"] == "backend"]
    assert (finding["verdict"], finding["finding"]) == ("fine", f"{backend.url} handles 16 cases")


async def test_the_page_has_the_form_of_the_document(tmp_path: Path) -> None:
    """And all names of checks."""
    document = json.loads((await run_beside(tmp_path, taking(), "--json")).stdout)
    text = Page("docs/operations.md").path.read_text()
    (shown,) = [block.text for block in Page("docs/operations.md").blocks if block.language == "json"]
    example = json.loads(shown)
    assert example.keys() == document.keys()
    assert example["counts"].keys() == document["counts"].keys()
    assert {tuple(each) for each in example["findings"]} == {tuple(each) for each in document["findings"]}
    every = {check for names in GROUPS.values() for check in names}
    rows = Page("docs/operations.md").rows("What is wrong? slip-sockets doctor")
    assert {name for row in rows for name in row[0].code} == every
    assert "--all-cases" in text


async def test_what_is_wrong_stands_out_with_its_fix_and_exit_code_1(tmp_path: Path) -> None:
    result = await run_beside(tmp_path, taking(is_checking=False), PYTHONUTF8="1")
    assert (result.exit_code, result.stderr) == (1, "")
    assert "\nFrom outside\n" in result.stdout
    assert "backend: http://127.0.0.1:" in result.stdout
    assert "Fix: " in result.stdout
    assert "\nNot checked\n" in result.stdout
    assert result.stdout.count("a development server is in no account of AWS") == 1
    assert " 1 wrong, " in result.stdout


async def test_no_secret_is_printed(tmp_path: Path) -> None:
    def put_secret_into_url(path: Path) -> None:
        document = json.loads(path.read_text())
        (entry,) = document.values()
        entry["targetUrl"] = f"http://user:{SECRET}@127.0.0.1:9/?key={SECRET}"
        entry["websocketUrl"] = f"ws://127.0.0.1:9/?key={SECRET}"
        entry["controlApi"] = f"https://{SECRET}.invalid/"
        path.write_text(json.dumps(document))

    for options in ((), ("--json",)):
        result = await run_beside(tmp_path, taking(), *options, do=put_secret_into_url)
        assert result.exit_code == 1
        assert SECRET not in result.stdout + result.stderr


async def test_all_cases_of_check_are_played_if_wanted(tmp_path: Path) -> None:
    def handled(result: Result) -> int:
        (text,) = [each["finding"] for each in json.loads(result.stdout)["findings"] if each["check"] == "backend"]
        return int(text.split()[2])

    few = handled(await run_beside(tmp_path, taking(), "--json"))
    every = handled(await run_beside(tmp_path, taking(), "--json", "--all-cases"))
    assert (few, every) == (28, 60)


@pytest.mark.parametrize(
    ("arguments", "environment", "line"),
    [
        (("--query", "room"), {}, "--query needs NAME=VALUE, got 'room'"),
        (("--header", "room"), {}, "--header needs NAME:VALUE, got 'room'"),
        ((), {"JWT_PREVIOUS_SECRETS": f"x,{KEY_OF_A_PAIR}"}, "JWT_PREVIOUS_SECRETS looks like"),
        (("--outputs", "nothing.json"), {}, "cannot read nothing.json: No such file or directory"),
        (("--stack", "x", "--outputs", "{path}"), {}, "{path} has no stack 'x'. It has: slip-sockets"),
    ],
)
def test_what_cannot_be_used_is_exit_code_2(
    tmp_path: Path, arguments: tuple[str, ...], environment: dict[str, str], line: str
) -> None:
    path = tmp_path / "cdk-outputs.json"
    path.write_text('{"slip-sockets": {}}')
    named = [argument.format(path=path) for argument in arguments]
    result = CliRunner().invoke(app, ["doctor", *named], env=OURS | environment)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"slip-sockets: {line.format(path=path)}")


async def test_a_host_that_is_away_leaves_one_problem_for_each_url(unused_tcp_port: int) -> None:
    away = f"127.0.0.1:{unused_tcp_port}"
    outputs = Outputs(f"http://{away}/", f"ws://{away}/", f"http://{away}/", "local")
    findings = await found(settings(outputs, jwt_secret=SECRET, now=time.time))
    assert checks(findings, WRONG) == ["websocket-url", "control-url", "backend"]
    assert [each.fix for each in findings if each.check == "socket"] == ["`websocket-url` to be fine"]
    assert checks(findings, FINE) == ["outputs"]


class _SilentAccount(Account):
    """Takes the credentials, and responds to nothing else."""

    async def check(self) -> list[Finding]:
        return [fine("credentials", "taken")]

    async def call(self, service: str, operation: str, **parameters: Any) -> dict[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError

    async def pages(self, service: str, operation: str, key: str, **parameters: Any) -> list[dict[str, Any]]:
        return [await self.call(service, operation)]


async def test_a_check_that_hangs_ends_after_its_own_time(
    monkeypatch: pytest.MonkeyPatch, unused_tcp_port: int
) -> None:
    monkeypatch.setattr(examine_module, "Account", _SilentAccount)
    monkeypatch.setattr(examine_module, "ACCOUNT_TIMEOUT_S", 0.01)
    monkeypatch.setattr(examine_module, "LOGS_TIMEOUT_S", 0.02)
    away = f"127.0.0.1:{unused_tcp_port}"
    outputs = Outputs(f"http://{away}/", f"ws://{away}/", f"http://{away}/", "eu-west-1")
    findings = await found(settings(outputs, now=time.time))
    inside = {each.check: each.finding for each in findings if each.check in GROUPS["From inside"]}
    assert inside.pop("credentials") == "taken"
    assert set(inside.values()) == {"not done within 0.02 s"}


async def test_one_check_that_cannot_be_made_leaves_the_others(
    monkeypatch: pytest.MonkeyPatch, unused_tcp_port: int
) -> None:
    async def cannot(*_: object) -> list[Finding]:
        raise CannotCheck("no permission", "one")

    monkeypatch.setattr(queues, "check_queues", cannot)
    monkeypatch.setattr(examine_module, "Account", _SilentAccount)
    monkeypatch.setattr(examine_module, "ACCOUNT_TIMEOUT_S", 0.01)
    monkeypatch.setattr(examine_module, "LOGS_TIMEOUT_S", 0.02)
    outputs = Outputs(f"http://127.0.0.1:{unused_tcp_port}/", f"ws://127.0.0.1:{unused_tcp_port}/", "", "eu-west-1")
    findings = await found(settings(outputs, now=time.time))
    assert [each.check for each in findings if each.finding == "no permission"] == [
        "deferred",
        "inbound",
        "dead-letters",
    ]
    assert sum(each.finding == "not done within 0.02 s" for each in findings) > 3


async def test_the_names_of_findings_are_those_of_the_groups_in_order() -> None:
    findings = await found(settings(Outputs(region="local")))
    names = list(dict.fromkeys(each.check for each in findings))
    assert names == [name for group in GROUPS.values() for name in group]


async def test_an_error_in_a_thread_is_raised_where_it_is_awaited() -> None:
    def fail() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        await in_thread(fail)
    assert await in_thread(lambda: 1) == 1
