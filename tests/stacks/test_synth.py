"""`python main.py` in a process of its own, as `cdktf` starts it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from stacks import function_package
from stacks.app import synthesize

from .synthesis import ALL_OPTIONS, PRODUCTION, REQUIRED, SECRET, STAGING, Synthesis

HOST_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
ROOT = Path(__file__).resolve().parents[2]
NAIVE = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
import cdktf_cdktf_provider_aws
assert len([name for name in sys.modules if name.startswith("cdktf_cdktf_provider_aws.")]) > 1000
import os
from pathlib import Path
from stacks.app import synthesize
synthesize(Path(sys.argv[1]), os.environ)
"""


def run(arguments: list[str], cwd: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run Python with `settings` in the environment, and nothing else of ours."""
    environment = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, cwd=cwd, env=environment | settings, capture_output=True, text=True, check=False, timeout=600
    )


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A copy of the app elsewhere, with the packages that were built before."""
    for name in ("main.py", "cdktf.json"):
        (tmp_path / "clone").mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / "clone")
    for name in ("stacks", "functions", "slip_sockets", "requirements"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, tmp_path / "clone" / name, ignore=ignored)
    (tmp_path / "clone" / "build").symlink_to(ROOT / "build")
    return tmp_path / "clone"


def test_it_writes_beside_itself_wherever_it_is_started(clone: Path, tmp_path: Path, all_options: Synthesis) -> None:
    done = run([str(clone / "main.py")], tmp_path, **REQUIRED, **ALL_OPTIONS)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert Synthesis(clone / "cdktf.out").files() == all_options.files()
    assert not (tmp_path / "cdktf.out").exists()


def test_it_contains_no_path_of_the_machine(all_options: Synthesis, tmp_path_factory: pytest.TempPathFactory) -> None:
    for path, content in all_options.files().items():
        if not path.endswith(".zip"):
            for folder in (ROOT, Path.home(), tmp_path_factory.getbasetemp(), all_options.out):
                assert str(folder).encode() not in content, path


@pytest.mark.once
def test_output_is_the_same_with_all_bindings_imported(tmp_path: Path, all_options: Synthesis) -> None:
    done = run(["-c", NAIVE, str(tmp_path / "cdktf.out")], tmp_path, **REQUIRED, **ALL_OPTIONS)
    assert done.returncode == 0, done.stderr
    naive = Synthesis(tmp_path / "cdktf.out").files()
    assert naive == all_options.files()
    assert {f"stacks/{name}/cdk.tf.json" for name in (STAGING, PRODUCTION)} <= naive.keys()


def test_every_problem_is_a_line_and_there_is_no_traceback(clone: Path) -> None:
    done = run(["main.py"], clone, STACK_NAME="my app", TARGET_URL="app.example", JWT_SECRET="")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        "slip-sockets: STACK_NAME is 'my app'. Set it to 1 to 46 letters, digits and hyphens, a letter first",
        "slip-sockets: TARGET_URL 'app.example' is not an http or https URL. Set it to the URL of your backend, "
        "which receives the events, e.g. https://app.example/slip",
        "slip-sockets: JWT_SECRET is not set. Set it to a secret that your backend knows too, "
        "e.g. the output of: openssl rand -hex 32",
    ]
    assert not (clone / "cdktf.out").exists()


def test_a_short_secret_is_a_warning(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    synthesize(tmp_path, REQUIRED | {"JWT_SECRET": SECRET[:20], "LAMBDA_PYTHON": HOST_PYTHON})
    assert capfd.readouterr() == ("", "slip-sockets: warning: JWT_SECRET has 20 bytes; HS256 wants 32\n")


def test_functions_that_cannot_be_compiled_are_a_warning(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(function_package, "_compiler", lambda python: None)
    # The build folder may have a compiled package, from where there was a compiler.
    monkeypatch.setattr(function_package, "_is_compiled", lambda path: False)
    synthesize(tmp_path, REQUIRED | {"LAMBDA_PYTHON": "3.12"})
    assert capfd.readouterr() == (
        "",
        "slip-sockets: warning: there is no python3.12 on PATH to compile the functions with; "
        "a cold start takes 5/3 of the time. Install it, or set LAMBDA_PYTHON to an installed version\n",
    )
