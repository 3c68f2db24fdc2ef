"""Every variable that the stacks read, with values that users give it by mistake.

The names are those that `read_settings` asks its environment for, so that the next setting is among them.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from slip_sockets.protocol.errors import InvalidSettings
from stacks.regions import profile_region
from stacks.settings import read_settings

from ..docs.settings import OF_STACKS, OF_THE_USER
from .synthesis import REQUIRED
from .test_synth import ROOT, run

BASE = {**REQUIRED, "DOMAIN_NAME": "ws.example.com"}
NAMES = sorted(OF_THE_USER | {f"{prefix}{name}" for name in OF_STACKS for prefix in ("", "STAGING_", "PRODUCTION_")})
VALUES = (
    *("", " ", "\t\n", "x\n", "a\nb", "a\r\nb", "\x1b[31mx", "caf\udce9", "\udcff", "é", "😀", "\u202ex", "\u2028"),
    *("x" * 100_000, "9" * 5_000, "0" * 5_000 + "5", "x." * 50_000, "-1", "nan", "inf", "1e9", "1_000", "+5", "0x10"),
    *("\u0665", "\u00b2", "1.0", "true\n", "TRUE", "${x}", "%{x}", "{}", "%s", ",", ",,", " , ", "a,b", "-", "--", "."),
    *("/", ".", "~", "/dev/null", "/dev/zero", "/nowhere/file", "https://ada:secret@.example/?secret", "@", "a@b"),
)
SECRETS = ("JWT_SECRET", "JWT_PREVIOUS_SECRETS")


def problems(**settings: str) -> list[str]:
    try:
        read_settings(BASE | settings)
    except InvalidSettings as error:
        return error.problems
    return []


def faults(name: str, value: str) -> list[str]:
    """Return the lines about a value that are not as a line should be."""
    named = "profile" if name in OF_THE_USER else name.removeprefix("STAGING_").removeprefix("PRODUCTION_")
    return [
        line
        for line in problems(**{name: value})
        if named not in line
        or "Set " not in line
        or not line.isprintable()
        or len(line) > 500
        or (name.endswith("TARGET_URL") and "secret" in line)
        or (name.endswith(SECRETS) and len(value) > 3 and value in line)
    ]


@pytest.mark.parametrize("name", NAMES)
def test_a_value_is_taken_or_refused_in_a_line_that_names_it(name: str) -> None:
    assert {value[:50]: wrong for value in VALUES if (wrong := faults(name, value))} == {}


@pytest.mark.parametrize("value", VALUES, ids=lambda value: ascii(value[:20]))
def test_the_problems_of_all_variables_are_reported_at_once(value: str) -> None:
    """Beside the zone's, which is read where the domain's name is right."""
    names = [name for name in OF_STACKS if name not in ("AWS_DEFAULT_REGION", "HOSTED_ZONE_NAME")]
    alone = {name for name in names if problems(**{name: value})}
    lines = problems(**dict.fromkeys(names, value))
    assert {name for name in names if any(name in line for line in lines)} == alone


def test_the_values_are_refused_where_they_should_be() -> None:
    refused = {name: sum(bool(problems(**{name: value})) for value in VALUES) for name in sorted(OF_STACKS)}
    assert {name for name, count in refused.items() if count < 5} <= {"AWS_PROFILE", *SECRETS}


@pytest.mark.parametrize("variable", ["AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"])
def test_a_file_of_profiles_may_be_anything(tmp_path: Path, variable: str) -> None:
    contents = (
        b"\xff\xfe",
        b"\x00" * 100,
        b"[default]\nregion",
        b"[default]\n[default]\n",
        b"[default\n",
        b"a" * 9_999,
    )
    for content in contents:
        (tmp_path / "file").write_bytes(content)
        assert profile_region({variable: str(tmp_path / "file")}) is None
    for path in (str(tmp_path), "/dev/zero", "/dev/null", "x" * 5_000, "caf\udce9", "~", " "):
        assert profile_region({variable: path, "HOME": str(tmp_path)}) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("FAN_OUT_RATE", "9" * 5_000),
        ("JWT_SECRET", "caf\udce9"),
        ("STAGING_TARGET_URL", "https://ada:secret@\x1b[31m/"),
        ("STATE_BUCKET", "x" * 100_000),
        ("ALARM_EMAIL", "a@caf\udce9.com"),
        ("AWS_REGION", "eu\nwest"),
    ],
)
def test_the_program_ends_in_a_line(name: str, value: str, tmp_path: Path) -> None:
    before = {path.name for path in ROOT.iterdir()}
    done: subprocess.CompletedProcess[str] = run([str(ROOT / "main.py")], tmp_path, **(REQUIRED | {name: value}))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"slip-sockets: {name} ")
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.rstrip("\n").isprintable()
    assert len(done.stderr) < 500
    assert {path.name for path in ROOT.iterdir()} <= before
    assert list(tmp_path.iterdir()) == []
