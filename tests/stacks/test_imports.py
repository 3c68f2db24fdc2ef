"""CDKTF is archived: its imports stay in a few places, so that one commit can replace it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OF_CDKTF = {"cdktf", "cdktf_cdktf_provider_aws", "constructs", "jsii"}
ITS_PLACES = ("main.py", "stacks/", "tests/stacks/")


def modules(path: Path) -> Iterator[str]:
    """Yield the modules that a file imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module is not None:
            yield node.module


def sources() -> Iterator[Path]:
    """Yield the Python files of the repository, without those that tools have put there."""
    for entry in ROOT.iterdir():
        if entry.is_dir() and not entry.name.startswith(".") and entry.name not in {"node_modules", "build", "dist"}:
            yield from entry.rglob("*.py")
    yield from ROOT.glob("*.py")


def importers(names: set[str]) -> set[str]:
    return {
        path.relative_to(ROOT).as_posix()
        for path in sources()
        if any(module.partition(".")[0] in names for module in modules(path))
    }


def test_cdktf_is_imported_in_its_places_only() -> None:
    found = importers(OF_CDKTF)
    assert "stacks/aws.py" in found
    assert [path for path in sorted(found) if not path.startswith(ITS_PLACES)] == []


def test_the_provider_is_imported_in_one_file() -> None:
    assert importers({"cdktf_cdktf_provider_aws"}) == {"stacks/aws.py"}


def test_functions_and_library_import_no_stacks() -> None:
    own = {path for path in importers({"stacks"}) if path.startswith(("slip_sockets/", "functions/", "local_aws/"))}
    assert own == set()
