"""docs/getting-started.md, step by step: its commands run as programs, and they print what the page shows.

The package is installed from the checkout into a new environment. Its dependencies are taken from this environment,
because tests use no index. The page's ports are replaced by free ones.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shlex
import shutil
import site
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from zipfile import ZipFile

import aiohttp
import pytest
import websockets

from .command_lines import EXTRAS
from .markdown import ROOT, Page

PATIENCE_S = 60

PAGE = Page("docs/getting-started.md")
(PROGRAM,) = (block.text for block in PAGE.blocks if block.language == "python")
(HTML,) = (block.text for block in PAGE.blocks if block.language == "html")
COMMANDS = [line for block in PAGE.blocks if block.language is None for line in block.text.splitlines()]
VENV, ACTIVATE, INSTALL, BACKEND, DEV, PUBLISH = COMMANDS

VARIABLE = {"10:00:00": r"\d\d:\d\d:\d\d", "Wocw57a8PaFooIE=": r"[A-Za-z0-9_-]{15}="}


def shown(heading: str) -> list[str]:
    """Return the output that the page shows under a heading."""
    return [block.text for block in PAGE.blocks if block.language == "text" and block.heading == heading]


def built(folder: Path) -> Path:
    """Return a wheel of the checkout."""
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    subprocess.run(
        [*pip, "wheel", "-q", "--no-deps", "--no-index", "--no-build-isolation", "-w", str(folder), f"{ROOT}[dev]"],
        check=True,
        timeout=PATIENCE_S,
    )
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of programs of a new environment with the package in it."""
    assert VENV.split()[1:] == ["-m", "venv", ".venv"]
    assert shlex.split(INSTALL) == ["pip", "install", "flask", "path/to/slip-sockets[dev]"]
    venv = tmp_path_factory.mktemp("first") / ".venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True, timeout=PATIENCE_S)
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(venv))
    install = [*pip, "install", "-q", "--no-deps", "--no-index", "--no-compile", str(wheel)]
    subprocess.run(install, check=True, timeout=PATIENCE_S)
    return venv / "bin"


class Running:
    """A program, and its output so far on both streams."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.output = ""

    async def prints(self, pattern: str) -> str:
        """Read until all output so far matches, and return it."""
        assert self.process.stdout is not None
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not re.fullmatch(pattern, self.output, re.DOTALL):
                    line = await self.process.stdout.readline()
                    assert line, f"it has ended without {pattern!r}:\n{self.output}"
                    self.output += line.decode()
        except TimeoutError:
            pytest.fail(f"waited in vain for {pattern!r}:\n{self.output}")
        return self.output


@dataclass(frozen=True)
class Evening:
    """A folder for the page's steps, and the ports in the place of the page's."""

    folder: Path
    programs: Path
    ports: Mapping[str, str]

    def localised(self, text: str) -> str:
        return re.sub("|".join(self.ports), lambda found: self.ports[found[0]], text)

    def pattern(self, text: str) -> str:
        """Return a regular expression for a piece of output."""
        parts = re.split("(" + "|".join(map(re.escape, VARIABLE)) + ")", self.localised(text))
        return "".join(VARIABLE.get(part) or re.escape(part) for part in parts)

    @contextlib.asynccontextmanager
    async def running(self, command: str) -> AsyncIterator[Running]:
        words = shlex.split(self.localised(command))
        given: dict[str, str] = {}
        while "=" in words[0]:
            name, _, value = words.pop(0).partition("=")
            given[name] = value
        ours = ("SLIP_SOCKETS_", "FLASK_", "WERKZEUG_", "JWT_", "TARGET_URL", "STACK_NAME")
        bare = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        # The package's dependencies but not this checkout, which is a .pth there: PYTHONPATH ignores those.
        needed = {"PYTHONPATH": os.pathsep.join(site.getsitepackages()), "PYTHONUNBUFFERED": "1", "NO_COLOR": "1"}
        if not (self.programs / words[0]).exists():
            words = ["python", "-m", *words]
        process = await asyncio.create_subprocess_exec(
            str(self.programs / words[0]),
            *words[1:],
            cwd=self.folder,
            env=bare | needed | given,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            yield Running(process)
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            await process.communicate()

    async def run(self, command: str) -> tuple[int | None, str]:
        """Run a command to its end, and return its exit code and output."""
        async with asyncio.timeout(PATIENCE_S), self.running(command) as program:
            output, _ = await program.process.communicate()
        return program.process.returncode, output.decode()

    @contextlib.asynccontextmanager
    async def backend(self) -> AsyncIterator[Running]:
        async with self.running(BACKEND) as backend:
            await backend.prints(r".*Running on http://127\.0\.0\.1:\d+\n.*")
            yield backend

    @contextlib.asynccontextmanager
    async def dev(self, target_url: str | None = None, port: int | None = None) -> AsyncIterator[Running]:
        """Run the page's command, with other arguments if there are any, until it listens."""
        command = DEV.partition(" --target-url")[0] + f" --target-url {target_url}" if target_url else DEV
        async with self.running(f"{command} --port {port or self.ports['8787']}") as dev:
            await dev.prints(r".*Ctrl-C stops\.\n")
            yield dev

    def url(self, port: int | None = None) -> str:
        return f"ws://127.0.0.1:{port or self.ports['8787']}/"

    async def is_refused(self, port: int | None = None) -> None:
        with pytest.raises(websockets.InvalidStatus):
            await websockets.connect(self.url(port), proxy=None)


@pytest.fixture
def evening(installed: Path, tmp_path: Path, unused_tcp_port_factory: Callable[[], int]) -> Evening:
    evening = Evening(tmp_path, installed, {page: str(unused_tcp_port_factory()) for page in ("8000", "8787")})
    (tmp_path / "static").mkdir()
    (tmp_path / "first.py").write_text(evening.localised(PROGRAM))
    (tmp_path / "static" / "page.html").write_text(evening.localised(HTML))
    return evening


def test_the_wheel_has_every_file_of_the_package_and_every_extra(wheel: Path) -> None:
    package = ROOT / "slip_sockets"
    files = {path.relative_to(ROOT).as_posix() for path in package.rglob("*") if path.is_file()}
    with ZipFile(wheel) as archive:
        names = archive.namelist()
        (metadata,) = (archive.read(name).decode() for name in names if name.endswith(".dist-info/METADATA"))
    assert "slip_sockets/py.typed" in files
    assert {name for name in files - set(names) if "__pycache__" not in name} == set()
    assert set(re.findall("^Provides-Extra: (.+)$", metadata, re.MULTILINE)) == EXTRAS


async def test_it_runs_from_where_it_was_installed(evening: Evening) -> None:
    where = "import slip_sockets, flask; print(slip_sockets.__file__)"
    status, output = await evening.run(f"python -c {shlex.quote(where)}")
    assert (status, Path(output.strip()).is_relative_to(evening.programs.parent)) == (0, True)


async def test_two_see_each_other_and_what_is_published_from_elsewhere(evening: Evening) -> None:
    (started,), (published,) = shown("The development server"), shown("Publish from elsewhere")
    async with evening.backend(), evening.dev() as dev, asyncio.timeout(PATIENCE_S):
        assert re.fullmatch(evening.pattern(started), dev.output)
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://127.0.0.1:{evening.ports['8000']}/?name=Ann") as page:
                assert await page.text() == (evening.folder / "static" / "page.html").read_text()
            async with session.get(f"http://127.0.0.1:{evening.ports['8787']}/_inspector") as inspector:
                assert inspector.status == 200
        async with websockets.connect(f"{evening.url()}?name=Ann", proxy=None) as ann:
            assert await ann.recv() == "Ann came"
            async with websockets.connect(f"{evening.url()}?name=Bob", proxy=None) as bob:
                assert await ann.recv() == await bob.recv() == "Bob came"
                await ann.send("Hello ☕")
                assert await ann.recv() == await bob.recv() == "Ann: Hello ☕"
                assert await evening.run(PUBLISH) == (0, published)
                assert await ann.recv() == await bob.recv() == "hello from the command line"
            assert await ann.recv() == "Bob left"


async def test_the_backend_is_not_started(evening: Evening) -> None:
    (output,) = shown("The backend is not started")
    async with evening.dev() as dev:
        await evening.is_refused()
        await dev.prints(f".*{evening.pattern(output)}")


async def test_the_wrong_secret(evening: Evening) -> None:
    by_dev, by_backend, by_publish = shown("The wrong secret")
    program = evening.folder / "first.py"
    program.write_text(program.read_text().replace("change-me", "changed"))
    async with evening.backend() as backend, evening.dev() as dev:
        await evening.is_refused()
        await dev.prints(f".*{evening.pattern(by_dev)}")
        await backend.prints(f".*{evening.pattern(by_backend)}.*")
        assert await evening.run(PUBLISH.replace("change-me", "changed")) == (2, by_publish)


async def test_the_wrong_url(evening: Evening, unused_tcp_port_factory: Callable[[], int]) -> None:
    *refused, unstarted = shown("The wrong URL")

    async def connects_in_vain(output: str) -> None:
        found = re.search(r"backend (\S+) ", output)
        assert found is not None
        port = unused_tcp_port_factory()
        async with evening.dev(found[1], port) as dev:
            await evening.is_refused(port)
            await dev.prints(f".*{evening.pattern(output)}")

    async with evening.backend():
        await asyncio.gather(*map(connects_in_vain, refused))
    found = re.search(r"'(.+)'", unstarted)
    assert found is not None
    literally = replace(evening, ports={"8000": "8000"})  # the port in the message's example is the page's
    assert await literally.run(f"JWT_SECRET=change-me slip-sockets dev --target-url {found[1]}") == (2, unstarted)


async def test_the_port_is_taken(evening: Evening) -> None:
    (output,) = shown("The port is taken")
    with socket.create_server(("127.0.0.1", int(evening.ports["8787"]))):
        assert await evening.run(f"{DEV} --port 8787") == (2, evening.localised(output))


@pytest.fixture
def without_node(tmp_path: Path) -> tuple[Path, Path]:
    """A checkout in which nothing was installed yet, and a folder of programs without Node.js."""
    checkout, programs = tmp_path / "checkout", tmp_path / "bin"
    checkout.mkdir()
    programs.mkdir()
    for name in ("Makefile", "package.json", "package-lock.json"):
        shutil.copy(ROOT / name, checkout)
    shutil.copytree(ROOT / "tools", checkout / "tools")
    for name in ("make", "sh", "dirname", "cksum", "tr"):
        program = shutil.which(name)
        assert program is not None
        (programs / name).symlink_to(program)
    return checkout, programs


@pytest.mark.parametrize("target", ["synth", "deploy-staging"])
def test_no_node_js(without_node: tuple[Path, Path], target: str) -> None:
    (output,) = shown("No Node.js")
    checkout, programs = without_node
    done = subprocess.run(
        [programs / "make", target],
        cwd=checkout,
        env={"PATH": str(programs)},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    first, _, rest = done.stderr.partition("\n")
    assert (done.returncode, done.stdout, f"{first}\n") == (2, "", output)
    assert rest.startswith("make: *** ")


def test_every_output_on_the_page_is_compared() -> None:
    headings = {block.heading for block in PAGE.blocks if block.language == "text"}
    source = Path(__file__).read_text()
    assert [heading for heading in headings if f'shown("{heading}")' not in source] == []
    assert {block.language for block in PAGE.blocks} == {None, "text", "python", "html"}
