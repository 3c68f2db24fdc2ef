"""The zip that all functions run from: an allowlist of our packages, the locked versions of what they need.

Its hash is of what it is made from: our files' names and contents, the locked versions, architecture and Python. It is
not of the zip's bytes, which another zlib writes differently, nor of the bytecode in it. So the same sources are the
same package on any machine and at any time. Where nothing changed, Terraform plans nothing: what was deployed stays.

The zip holds bytecode of the functions' Python, with which a cold start takes 3/5 of the time (docs/speed.md):
Lambda's code folder is read-only, so that each cold start would compile everything anew. Only a Python of the same
version can write it: the one that runs this, or another on PATH.
"""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from slip_sockets.protocol.errors import InvalidSettings

from .settings import Architecture

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "requirements" / "functions.txt"
BUILD_FOLDER = ROOT / "build"

MAX_ZIP_BYTES = 3 * 1024 * 1024
"""Our own limit, not Lambda's: each cold start loads the zip."""
PLATFORMS: dict[Architecture, str] = {"arm64": "manylinux2014_aarch64", "x86_64": "manylinux2014_x86_64"}
"""The platform tags of wheels that run on Lambda (glibc 2.26 or newer, as Amazon Linux 2 and 2023 have)."""

_OWN_CODE = (
    "functions",
    "slip_sockets/__init__.py",
    "slip_sockets/dialects.py",
    *(f"slip_sockets/{package}" for package in ("apigateway", "aws", "gateway", "grip", "http", "protocol", "slip")),
)
"""What ships to Lambda. A new package or file elsewhere does not, until it is listed here."""
_LEFT_OUT = {"slip_sockets/apigateway/routes.py", "slip_sockets/protocol/json_files.py"}
"""Modules there that no function needs."""
_FOLDERS_LEFT_OUT_OF_WHEELS = {"__pycache__", "bin", "tests"}
_FILES_LEFT_OUT_OF_WHEELS = {"RECORD", "INSTALLER", "REQUESTED", "WHEEL"}
_EARLIEST_ZIP_TIME = (1980, 1, 1, 0, 0, 0)
_TASK = "/var/task"
"""Where Lambda unpacks the zip."""


@dataclass(frozen=True, slots=True)
class FunctionPackage:
    """A zip on disk, the SHA-256 of its sources (CDKTF takes hex, Terraform base64), and whether it holds bytecode."""

    path: Path
    sha256_hex: str
    is_compiled: bool

    @property
    def sha256_base64(self) -> str:
        return base64.b64encode(bytes.fromhex(self.sha256_hex)).decode()


def build(architecture: Architecture, python: str, *, folder: Path = BUILD_FOLDER) -> FunctionPackage:
    """Return the package for an architecture and a Python (`3.13`); build it unless it is there already.

    Raises InvalidSettings where the wheels cannot be downloaded.
    """
    own = sorted(_own_files())
    compiler = _compiler(python)
    key = hashlib.sha256(f"{architecture} {python}".encode())
    for path in (REQUIREMENTS, Path(__file__), *own):
        key.update(f"\0{path.relative_to(ROOT)}\0".encode() + path.read_bytes())
    kind = f"functions-{architecture}-{python}"
    # Terraform also compares this name: it is the same everywhere, with bytecode and without.
    target = folder / f"{kind}-{key.hexdigest()[:16]}.zip"
    if not target.exists() or (compiler is not None and not _is_compiled(target)):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            wheels = Path(scratch) / "wheels"
            _install_wheels(wheels, architecture, python)
            contents = {path.relative_to(wheels).as_posix(): path for path in _wheel_files(wheels)}
            contents |= {path.relative_to(ROOT).as_posix(): path for path in own}
            if compiler is not None:
                contents |= _compiled(contents, Path(scratch) / "compiled", compiler)
            beside = Path(scratch) / target.name
            _write_zip(beside, contents)
            for outdated in folder.glob(f"{kind}-*.zip"):
                outdated.unlink()
            beside.replace(target)
    return FunctionPackage(target, key.hexdigest(), _is_compiled(target))


def _is_compiled(path: Path) -> bool:
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith(".pyc") for name in archive.namelist())


def _own_files() -> Iterator[Path]:
    for name in _OWN_CODE:
        path = ROOT / name
        files = path.rglob("*.py") if path.is_dir() else [path]
        yield from (file for file in files if file.relative_to(ROOT).as_posix() not in _LEFT_OUT)


def _wheel_files(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        folders = path.relative_to(folder).parts[:-1]
        left_out = not _FOLDERS_LEFT_OUT_OF_WHEELS.isdisjoint(folders) or path.name in _FILES_LEFT_OUT_OF_WHEELS
        if path.is_file() and not left_out:
            yield path


def _install_wheels(folder: Path, architecture: Architecture, python: str) -> None:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    command += ["--target", str(folder), "--require-hashes", "--requirement", str(REQUIREMENTS), "--no-deps"]
    command += ["--only-binary", ":all:", "--no-compile", "--implementation", "cp"]
    command += ["--platform", PLATFORMS[architecture], "--python-version", python]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own arguments
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["pip failed"])[-1]
        problem = f"the functions' packages for {architecture}, Python {python}, cannot be downloaded: {reason}"
        raise InvalidSettings([problem])


def _compiler(python: str) -> str | None:
    """Return the path of a Python of this version, or None if PATH has none."""
    if python == f"{sys.version_info.major}.{sys.version_info.minor}":
        return sys.executable
    program = shutil.which(f"python{python}")
    if program is None:
        return None
    # A shim of pyenv runs only the versions that are switched on, unless the environment names one.
    ask = "import sys; print('%d.%d' % sys.version_info[:2], sys.executable)"
    environment = {**os.environ, "PYENV_VERSION": python}
    done = subprocess.run(  # noqa: S603 - found on PATH by its own name
        [program, "-I", "-c", ask], env=environment, capture_output=True, text=True, check=False
    )
    version, _, executable = done.stdout.strip().partition(" ")
    return executable if version == python else None


def _compiled(contents: dict[str, Path], folder: Path, compiler: str) -> dict[str, Path]:
    """Return the bytecode of all Python files, by name. It holds neither a time nor a path of this machine."""
    for name, path in contents.items():
        if name.endswith(".py"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(path.read_bytes())
    # In a process of its own: strings that this process has interned would change the bytes.
    command = [compiler, "-I", "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash"]
    command += ["-s", str(folder), "-p", _TASK, str(folder)]
    subprocess.run(command, check=True)  # noqa: S603 - our own arguments
    return {path.relative_to(folder).as_posix(): path for path in folder.rglob("*.pyc")}


def _write_zip(path: Path, contents: dict[str, Path]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name in sorted(contents):
            entry = zipfile.ZipInfo(name, _EARLIEST_ZIP_TIME)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3  # Unix, wherever it is built
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, contents[name].read_bytes())
