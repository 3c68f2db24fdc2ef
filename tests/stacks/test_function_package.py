"""The zip that the functions run from."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from slip_sockets.protocol.errors import InvalidSettings
from stacks.function_package import BUILD_FOLDER, MAX_ZIP_BYTES, REQUIREMENTS, ROOT, FunctionPackage, build
from stacks.settings import Architecture

from ..aws.moto_server import ENVIRONMENT, stored_secrets

HOST_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
BUILD = """
import json, sys, zlib
if sys.argv[3:]:
    compressobj = zlib.compressobj
    zlib.compressobj = lambda level, *more: compressobj(int(sys.argv[3]), *more)
sys.path.insert(0, sys.argv[1])
from stacks.function_package import build
package = build("arm64", sys.argv[2])
print(json.dumps([str(package.path), package.sha256_hex, package.path.stat().st_mtime_ns]))
"""


OTHER_PYTHON = "3.12" if HOST_PYTHON == "3.13" else "3.13"
"""A version for which the Python that runs the tests cannot write bytecode."""
OTHER_ON_PATH = f"""#!/bin/sh
case $1 in -I) ;; *) exit 1 ;; esac
case $2 in -c) echo "{OTHER_PYTHON} $0" ;; *) exec "{sys.executable}" "$@" ;; esac
"""
"""A stand-in for it: prints that version, and compiles with the Python that runs the tests."""


@pytest.fixture(scope="module", params=[HOST_PYTHON, OTHER_PYTHON])
def package(request: pytest.FixtureRequest) -> FunctionPackage:
    return build("arm64", request.param)


@pytest.fixture(scope="module")
def names(package: FunctionPackage) -> list[str]:
    with zipfile.ZipFile(package.path) as archive:
        return [name for name in archive.namelist() if not name.endswith(".pyc")]


def bytecode(package: FunctionPackage) -> tuple[set[str], set[str]]:
    """Return the names of the bytecode in a package, and of the bytecode that all its sources would make."""
    with zipfile.ZipFile(package.path) as archive:
        paths = [Path(name) for name in archive.namelist()]
    tag = sys.implementation.cache_tag
    possible = {path.parent / "__pycache__" / f"{path.stem}.{tag}.pyc" for path in paths if path.suffix == ".py"}
    return {str(path) for path in paths if path.suffix == ".pyc"}, set(map(str, possible))


@dataclass(frozen=True)
class Clone:
    """A copy of the files that the package is made from."""

    root: Path

    @classmethod
    def at(cls, root: Path, *, seconds_ago: float) -> Clone:
        for folder in ("stacks", "functions", "slip_sockets", "requirements"):
            shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
        then = time.time() - seconds_ago
        for path in root.rglob("*"):
            os.utime(path, (then, then))
        return cls(root)

    def build(self, python: str, *, zlib_level: int | None = None) -> tuple[Path, str, int]:
        """Return the zip, its hash and when it was written. Another level stands for another zlib."""
        level = [] if zlib_level is None else [str(zlib_level)]
        command = [sys.executable, "-B", "-c", BUILD, str(self.root), python, *level]
        done = subprocess.run(command, cwd=self.root, capture_output=True, text=True, check=True)
        path, sha256, written = json.loads(done.stdout)
        return Path(path), sha256, written


def test_it_is_small(package: FunctionPackage) -> None:
    assert package.path.stat().st_size <= MAX_ZIP_BYTES == 3 * 1024 * 1024


SHIPPED = {
    "functions",
    *(f"slip_sockets/{name}" for name in ("apigateway", "aws", "gateway", "grip", "http", "protocol", "slip")),
}
"""The packages of ours that Lambda needs. The client library, the command line and the development server are not."""


def test_it_holds_these_packages_of_ours_and_nothing_else(names: list[str]) -> None:
    own = [path for folder in SHIPPED for path in (ROOT / folder).rglob("*.py")]
    expected = {path.relative_to(ROOT).as_posix() for path in own}
    expected |= {"slip_sockets/__init__.py", "slip_sockets/dialects.py"}
    expected -= {"slip_sockets/apigateway/routes.py", "slip_sockets/protocol/json_files.py"}
    assert {name for name in names if name.startswith(("functions/", "slip_sockets/"))} == expected
    assert {"functions/websocket.py", "slip_sockets/gateway/fan_out.py"} < expected


def test_a_new_file_ships_only_in_these_packages(tmp_path: Path) -> None:
    clone = Clone.at(tmp_path, seconds_ago=0)
    before = clone.build(HOST_PYTHON)
    for folder in ("slip_sockets", *(f"slip_sockets/{name}" for name in ("client", "cli", "dev", "new"))):
        (clone.root / folder).mkdir(exist_ok=True)
        (clone.root / folder / "new.py").write_text("")
    assert clone.build(HOST_PYTHON) == before

    (clone.root / "slip_sockets" / "gateway" / "new.py").write_text("")
    path, sha256, _ = clone.build(HOST_PYTHON)
    assert sha256 != before[1]
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    assert [name for name in names if name.endswith("/new.py")] == ["slip_sockets/gateway/new.py"]


def test_it_holds_the_locked_versions_of_what_that_needs_and_nothing_else(names: list[str]) -> None:
    locked = set(re.findall(r"^([\w-]+)==([\w.]+)", REQUIREMENTS.read_text(), re.MULTILINE))
    metadata = {match.groups() for name in names if (match := re.match(r"([\w]+)-([\w.]+)\.dist-info/METADATA", name))}
    assert {(name.replace("_", "-"), version) for name, version in metadata} == locked
    assert {name.partition("/")[0] for name in names if ".dist-info/" not in name} == {
        "functions",
        "httptools",
        "idna",
        "jwt",
        "msgspec",
        "slip_sockets",
    }


def test_it_holds_no_leftovers(names: list[str]) -> None:
    folders = {folder for name in names for folder in name.split("/")[:-1]}
    assert not folders & {"__pycache__", "tests", "test", "bin"}
    assert not [name for name in names if name.endswith((".pyc", "/RECORD", "/INSTALLER", "/REQUESTED"))]
    assert names == sorted(set(names))


def test_it_holds_the_bytecode_of_all_its_sources() -> None:
    package = build("arm64", HOST_PYTHON)
    held, possible = bytecode(package)
    assert package.is_compiled
    assert held == possible


def test_a_python_of_the_functions_version_is_found_on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / f"python{OTHER_PYTHON}").write_text(OTHER_ON_PATH)
    (tmp_path / f"python{OTHER_PYTHON}").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    package = build("arm64", OTHER_PYTHON, folder=tmp_path / "build")
    held, possible = bytecode(package)
    assert package.is_compiled
    assert held == possible


@pytest.mark.parametrize("program", [None, "exit 1", f"echo '{HOST_PYTHON} /python'"])
def test_without_one_there_is_no_bytecode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str | None) -> None:
    if program is not None:
        (tmp_path / f"python{OTHER_PYTHON}").write_text(f"#!/bin/sh\n{program}\n")
        (tmp_path / f"python{OTHER_PYTHON}").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    package = build("arm64", OTHER_PYTHON, folder=tmp_path / "build")
    assert not package.is_compiled
    assert bytecode(package)[0] == set()


def test_bytecode_runs_without_reading_its_source(tmp_path: Path) -> None:
    with zipfile.ZipFile(build("arm64", HOST_PYTHON).path) as archive:
        archive.extractall(tmp_path)
    (tmp_path / "jwt" / "exceptions.py").write_text("raise SystemExit('compiled anew')")
    program = "import sys; sys.path.insert(0, sys.argv[1]); import jwt; print(jwt.__name__)"
    command = [sys.executable, "-I", "-S", "-c", program, str(tmp_path)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "jwt\n"


@pytest.mark.parametrize(
    ("architecture", "python", "tag"),
    [("arm64", "3.13", "cpython-313-aarch64-linux-gnu"), ("x86_64", "3.12", "cpython-312-x86_64-linux-gnu")],
)
def test_its_libraries_are_for_the_function(architecture: Architecture, python: str, tag: str) -> None:
    with zipfile.ZipFile(build(architecture, python).path) as archive:
        libraries = [name for name in archive.namelist() if name.endswith(".so")]
    assert f"msgspec/_core.{tag}.so" in libraries
    assert {name.split(".", 1)[1] for name in libraries} == {f"{tag}.so"}


def test_it_is_readable_for_lambda_and_reveals_nothing_of_the_machine(package: FunctionPackage) -> None:
    with zipfile.ZipFile(package.path) as archive:
        entries = archive.infolist()
        assert {(entry.date_time, entry.external_attr >> 16, entry.create_system) for entry in entries} == {
            ((1980, 1, 1, 0, 0, 0), 0o100644, 3)
        }
        content = b"".join(archive.read(entry) for entry in entries)
    assert str(ROOT).encode() not in content


@pytest.mark.parametrize("python", [HOST_PYTHON, OTHER_PYTHON])
def test_two_clones_make_the_same_bytes_and_one_builds_once(tmp_path: Path, python: str) -> None:
    one, other = (Clone.at(tmp_path / name, seconds_ago=ago) for name, ago in (("one", 0), ("other", 10**7)))
    (path, sha256, written), (other_path, other_sha256, _) = one.build(python), other.build(python)
    assert path.read_bytes() == other_path.read_bytes()
    assert (path.name, sha256) == (other_path.name, other_sha256)
    assert one.build(python) == (path, sha256, written)
    assert [each.name for each in path.parent.iterdir()] == [path.name]

    with (one.root / "functions" / "control.py").open("a") as file:
        file.write("# changed\n")
    changed_path, changed_sha256, _ = one.build(python)
    assert changed_sha256 != sha256
    assert [each.name for each in changed_path.parent.iterdir()] == [changed_path.name]
    with zipfile.ZipFile(changed_path) as archive:
        assert archive.read("functions/control.py").endswith(b"# changed\n")


@pytest.mark.parametrize("level", [0, 1])
def test_another_zlib_makes_the_same_package_of_other_bytes(tmp_path: Path, level: int) -> None:
    one, other = (Clone.at(tmp_path / name, seconds_ago=0) for name in ("one", "other"))
    path, sha256, _ = one.build(HOST_PYTHON)
    other_path, other_sha256, _ = other.build(HOST_PYTHON, zlib_level=level)
    assert path.read_bytes() != other_path.read_bytes()
    assert (path.name, sha256) == (other_path.name, other_sha256)


def test_a_machine_that_cannot_compile_makes_the_same_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Terraform then keeps what is deployed. Where a Python turns up, the zip is built again, for a first deploy."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    without = build("arm64", OTHER_PYTHON, folder=tmp_path / "build")
    (tmp_path / "bin" / f"python{OTHER_PYTHON}").write_text(OTHER_ON_PATH)
    (tmp_path / "bin" / f"python{OTHER_PYTHON}").chmod(0o755)
    compiled = build("arm64", OTHER_PYTHON, folder=tmp_path / "build")
    assert (without.is_compiled, compiled.is_compiled) == (False, True)
    assert (without.path, without.sha256_hex) == (compiled.path, compiled.sha256_hex)


def test_wheels_that_cannot_be_downloaded_are_reported_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PIP_CONFIG_FILE", "PIP_INDEX_URL"):
        monkeypatch.setenv(name, os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with pytest.raises(InvalidSettings) as error:
        build("arm64", "3.13", folder=tmp_path)
    (problem,) = error.value.problems
    assert problem.startswith("the functions' packages for arm64, Python 3.13, cannot be downloaded: ")
    assert "\n" not in problem
    assert list(tmp_path.iterdir()) == []


# The package for this machine runs.

RUN = """
import importlib, json, sys
sys.path[:0] = sys.argv[1:]
for name in ("websocket", "control", "deliver"):
    assert callable(importlib.import_module(f"functions.{name}").handler)
importlib.import_module("slip_sockets.protocol.verification")  # at the control API's first call
# Lambda never lets a function end; here its event loop would warn.
for name in ("websocket", "control", "deliver"):
    sys.modules[f"functions.{name}"].handler.close()
files = [getattr(module, "__file__", None) for module in sys.modules.values()]
print(json.dumps([file for file in files if file]))
"""
NEVER_IMPORTED = {
    "idna/": "imported when the host of TARGET_URL is not ASCII",
    "jwt/help.py": "a program; wheels are not taken apart",
    "slip_sockets/grip/": "imported with BACKEND_PROTOCOL=grip",
    "slip_sockets/protocol/json_faults.py": "imported when a body is not JSON",
}
"""Modules in the zip that a function does not import when it starts, with the reason."""


@pytest.fixture
def function_environment(moto_url: str) -> dict[str, str]:
    return ENVIRONMENT | {
        "PATH": os.environ["PATH"],
        "AWS_ENDPOINT_URL": moto_url,
        "TARGET_URL": "http://127.0.0.1:1/slip",
        "CONNECTIONS_TABLE": "Connections",
        "CHANNELS_TABLE": "Channels",
        "QUEUE_URL": "http://127.0.0.1:1/000000000000/deferred.fifo",
        "INBOUND_QUEUE_URL": "http://127.0.0.1:1/000000000000/inbound.fifo",
        "DEAD_LETTERS_URL": "http://127.0.0.1:1/000000000000/dead-letters.fifo",
        "MANAGEMENT_URL": "http://127.0.0.1:1/live",
        **stored_secrets(moto_url, '["s"]'),
    }


@pytest.fixture
def task(tmp_path: Path) -> Path:
    """The package for this machine, unpacked as Lambda does it."""
    architecture: Architecture = "x86_64" if platform.machine() == "x86_64" else "arm64"
    with zipfile.ZipFile(build(architecture, HOST_PYTHON).path) as archive:
        archive.extractall(tmp_path / "task")
    return tmp_path / "task"


@pytest.fixture
def imported(task: Path, function_environment: dict[str, str]) -> list[Path]:
    """Start the three functions with nothing but the package; return the files of all modules that they import."""
    # No site-packages: -I leaves out the environment's and the user's folders, -S the virtual environment's.
    command = [sys.executable, "-I", "-S", "-B", "-W", "error", "-c", RUN, str(task)]
    done = subprocess.run(command, env=function_environment, cwd=task, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return [Path(file) for file in json.loads(done.stdout)]


only_on_linux = pytest.mark.skipif(
    (platform.system(), platform.machine()) not in {("Linux", "x86_64"), ("Linux", "aarch64")},
    reason="Lambda's wheels run on Linux only",
)


@only_on_linux
def test_functions_start_from_it_with_nothing_from_elsewhere(task: Path, imported: list[Path]) -> None:
    assert not [file for file in imported if "site-packages" in file.parts]
    assert not [file for file in imported if file.is_relative_to(ROOT / "slip_sockets")]
    packages = {file.relative_to(task).parts[0] for file in imported if file.is_relative_to(task)}
    assert packages == {"functions", "slip_sockets", "httptools", "jwt", "msgspec"}


@only_on_linux
def test_functions_import_all_that_it_holds(task: Path, imported: list[Path]) -> None:
    never = {path.relative_to(task).as_posix() for path in task.rglob("*.py") if path not in imported}
    for prefix in NEVER_IMPORTED:
        excepted = {name for name in never if name.startswith(prefix)}
        assert excepted, f"all of {prefix} is imported: it is no exception any more"
        never -= excepted
    assert never == set()


def test_packages_are_kept_between_deploys(package: FunctionPackage) -> None:
    assert package.path.parent == BUILD_FOLDER
    again = {build("arm64", python) for python in (HOST_PYTHON, OTHER_PYTHON)}
    assert package in again
