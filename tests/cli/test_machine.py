"""Commands as programs on a machine with closed streams, a full disk, files of other encodings, other event loops."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from ..conftest import SECRET
from ..contract.wire import TIMEOUT_S
from .conftest import Cli, refused
from .test_app import ALL
from .test_dev import line_of, names, program

FULL = "slip-sockets: cannot write to stdout: No space left on device\n"
NEEDED = ("--target-url", "http://127.0.0.1:1/", "--jwt-secret", SECRET, "--port", "0")


def shell(folder: Path, arguments: str, redirections: str) -> tuple[int, str, str]:
    """Return the exit code, stdout and stderr of a command, as far as they are not redirected."""
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m slip_sockets {arguments} {redirections}"],
        cwd=folder,
        env=os.environ | {"JWT_SECRET": SECRET},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    "arguments", [*(f"{name} --help" for name in sorted(ALL)), "cost", "cost --json", "token mint"]
)
def test_a_full_disk_is_one_line(tmp_path: Path, arguments: str) -> None:
    assert shell(tmp_path, arguments, "> /dev/full") == (1, "", FULL)


@pytest.mark.parametrize(("arguments", "status"), [("token mint", 0), ("outputs", 2), ("cost --sent x", 2)])
@pytest.mark.parametrize("redirections", [">&-", ">&- 2>&-", "<&- >&- 2>&-", "2> /dev/full"])
def test_closed_streams_do_not_change_the_exit_code(
    tmp_path: Path, arguments: str, status: int, redirections: str
) -> None:
    code, _, err = shell(tmp_path, arguments, redirections)
    assert code == status
    assert "Traceback" not in err
    assert names(tmp_path) == []


def test_a_closed_stdin_is_one_line(tmp_path: Path) -> None:
    line = "slip-sockets: stdin is closed. Send the text to it, or give it as an argument\n"
    assert shell(tmp_path, "publish --control-api http://127.0.0.1:1/ lobby -", "<&-") == (2, "", line)


def test_what_an_encoding_lacks_is_escaped(tmp_path: Path) -> None:
    (tmp_path / "cdk-outputs.json").write_text('{"\u20ac": {"region": "r"}}')
    done = subprocess.run(
        [sys.executable, "-m", "slip_sockets", "outputs"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONIOENCODING": "latin-1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("\\u20ac")


@pytest.mark.parametrize("home", ["", "/dev/null", "/nowhere"])
@pytest.mark.parametrize("arguments", ["redrive --region eu-west-1", "token mint", "outputs"])
def test_no_home_directory_is_no_traceback(tmp_path: Path, home: str, arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "slip_sockets", *arguments.split()],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "JWT_SECRET": SECRET, "AWS_EC2_METADATA_DISABLED": "true"}
        | ({"HOME": home} if home else {}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr
    assert done.returncode == (0 if "token" in arguments else 2)


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        (".", "Is a directory"),
        ("folder", "Is a directory"),
        ("missing/file", "No such file or directory"),
        ("file/beneath", "Not a directory"),
        ("/proc/nothing", "No such file or directory"),
        ("/dev/full", "No space left on device"),
        ("pipe", "No such device or address"),
        ("x" * 300, "File name too long"),
    ],
)
def test_outputs_that_cannot_be_written_are_one_line_and_leave_nothing(
    cli: Cli, tmp_path: Path, place: str, reason: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "pipe")
    result = cli("dev", *NEEDED, "--outputs", place)
    refused(result, f"cannot write {place}: {reason}. Choose another file with --outputs.")
    assert sorted(names(tmp_path)) == ["file", "folder", "pipe"]


def test_a_disk_that_fills_up_leaves_no_part_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text("{}")
    limited = "import resource as r; r.setrlimit(r.RLIMIT_FSIZE, (10, 10)); from slip_sockets.cli import main; main()"
    command = [sys.executable, "-B", "-c", limited, "dev", *NEEDED, "--outputs", "mine.json"]
    # Without coverage, which has larger files to write.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    line = "slip-sockets: cannot write mine.json: File too large. Choose another file with --outputs.\n"
    assert (done.returncode, done.stderr) == (2, line)
    assert (names(tmp_path), (tmp_path / "mine.json").read_text()) == (["mine.json"], "{}")


async def test_a_device_stays_a_device_and_a_link_a_link(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("{}")
    (tmp_path / "link").symlink_to("target")
    (tmp_path / "nowhere").symlink_to("/dev/null")
    for place in ("link", "nowhere"):
        async with program(tmp_path, *NEEDED, "--outputs", place) as process:
            assert (await line_of(process)).startswith("WebSockets")
            process.send_signal(signal.SIGINT)
            async with asyncio.timeout(TIMEOUT_S):
                await process.communicate()
        assert process.returncode == 0
    assert set(json.loads((tmp_path / "target").read_text())) == {"slip-sockets"}
    assert (tmp_path / "link").is_symlink()
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)  # noqa: PTH116


LIKE_ON_WINDOWS = """
import asyncio
import signal

class Loop(asyncio.SelectorEventLoop):
    def add_signal_handler(self, *_):
        raise NotImplementedError

    def run_forever(self):
        # A signal may come just before the loop begins to wait.
        signal.set_wakeup_fd(self._csock.fileno())
        super().run_forever()

asyncio.new_event_loop = asyncio.events.new_event_loop = Loop

from slip_sockets.cli import main

main()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_dev_runs_on_an_event_loop_without_signal_handlers(tmp_path: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-c", LIKE_ON_WINDOWS, "dev", *NEEDED]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith("Ctrl-C"):
                    process.send_signal(number)
                    break
            out, err = process.communicate(timeout=TIMEOUT_S)
        finally:
            process.kill()  # or else a program that goes on is waited for
    assert (process.returncode, out, err) == (0, "Closing all sockets ...\n", "")


OUTPUTS = '{"caf\u00e9": {"region": "eu-west-1"}}'
ANEW = "Deploy first, or start `slip-sockets dev`"


def test_a_byte_order_mark_before_the_outputs_is_ignored(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "cdk-outputs.json").write_text(OUTPUTS, encoding="utf-8-sig")
    assert cli("outputs", "--get", "region").stdout == "eu-west-1\n"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (OUTPUTS.encode("utf-16"), "it is UTF-16, as PowerShell writes. Save it as UTF-8"),
        (OUTPUTS.encode("utf-16-le"), "it is UTF-16, as PowerShell writes. Save it as UTF-8"),
        (OUTPUTS.encode("latin-1"), "it is not UTF-8 at byte 5. Save it as UTF-8"),
        (b" \n", "it is empty"),
        (b"\xef\xbb\xbf", "it is empty"),
        (b"{'a': 1}", "it is not JSON: .*"),
        (b"<html>", "it is not JSON: .*"),
        (b'{"a": {"x": ' + b"[" * 200_000, "it is not JSON: .*"),
        (b"[]", "its JSON has another shape: Expected `object`, got `array`"),
        (b'{"controlApi": "x"}', "its JSON has another shape: .*"),
        (b" " * 17_000_000, "it is larger than 16 MB"),
    ],
    ids=lambda given: str(given[:20]),
)
def test_a_file_that_is_not_outputs_is_one_line(cli: Cli, tmp_path: Path, content: bytes, problem: str) -> None:
    (tmp_path / "cdk-outputs.json").write_bytes(content)
    result = cli("outputs")
    assert (result.exit_code, result.stdout) == (2, "")
    expected = rf"slip-sockets: cdk-outputs\.json is not an outputs file: {problem}\. {re.escape(ANEW)}\n"
    assert re.fullmatch(expected, result.stderr)


@pytest.mark.parametrize("option", ["--host", "--stack-name"])
def test_an_empty_host_is_not_all_of_this_machines(cli: Cli, option: str) -> None:
    refused(cli("dev", *NEEDED, option, ""), f"{option} is empty. Leave it out, or give it a value")
