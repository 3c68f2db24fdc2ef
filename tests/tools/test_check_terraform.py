"""What the Makefile says about Terraform."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from stacks.slip_sockets_stack import MIN_TERRAFORM

from ..e2e.deployment import ROOT

PROGRAM = ROOT / "tools" / "check-terraform"
HOW = f"install Terraform {MIN_TERRAFORM} or later, see https://developer.hashicorp.com/terraform/install"


def check(path: str) -> tuple[int, str]:
    done = subprocess.run([PROGRAM], env={"PATH": path}, capture_output=True, text=True, check=False)
    assert done.stdout == ""
    return done.returncode, done.stderr


@pytest.fixture
def bin_folder(tmp_path: Path) -> Path:
    """A folder with what the program itself needs, and no Terraform."""
    for name in ("sh", "sed", "sort", "head"):
        (tmp_path / name).symlink_to(f"/bin/{name}" if Path(f"/bin/{name}").exists() else f"/usr/bin/{name}")
    return tmp_path


@pytest.mark.parametrize("version", [MIN_TERRAFORM, "1.11.4", "1.12.0", "1.100.0-rc1", "2.0.0"])
def test_this_version_is_enough(bin_folder: Path, version: str) -> None:
    offer(bin_folder, f"Terraform v{version}\\non linux_amd64\\n\\nYour version of Terraform is out of date!")
    assert check(str(bin_folder)) == (0, "")


@pytest.mark.parametrize("version", ["1.2.9", "1.10.5", "0.15.0"])
def test_an_older_one_is_one_line(bin_folder: Path, version: str) -> None:
    offer(bin_folder, f"Terraform v{version}")
    assert check(str(bin_folder)) == (1, f"make: terraform on PATH is {version}; {HOW}\n")


def test_none_is_one_line(bin_folder: Path) -> None:
    assert check(str(bin_folder)) == (1, f"make: terraform is not on PATH; {HOW}\n")


def test_something_else_of_that_name_is_one_line(bin_folder: Path) -> None:
    offer(bin_folder, "OpenTofu v1.9.0")
    assert check(str(bin_folder)) == (1, f"make: terraform on PATH does not tell its version; {HOW}\n")


def offer(folder: Path, printed: str) -> None:
    (folder / "terraform").write_text(f"#!/bin/sh\nprintf '{printed}\\n'\n")
    (folder / "terraform").chmod(0o755)


def test_the_makefile_checks_it() -> None:
    assert "\t@tools/check-terraform\n" in (ROOT / "Makefile").read_text()
    assert os.access(PROGRAM, os.X_OK)
