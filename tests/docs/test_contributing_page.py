"""What docs/contributing.md says of the tree: every module has its line, and imports go the way of the arrows."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from .markdown import ROOT, Page

LIBRARY = {
    path.stem
    for path in (ROOT / "slip_sockets").iterdir()
    if (path.suffix == ".py" or (path / "__init__.py").exists()) and path.stem != "__init__"
}
PROGRAMS = {"functions", "local_aws", "stacks", "main.py", "tools"}


def part_of(module: str) -> str:
    """Return the part of the tree that a module belongs to, by its dotted name."""
    first, _, rest = module.partition(".")
    if first == "slip_sockets":
        return rest.partition(".")[0]
    if first == "main":
        return "main.py"
    return first if first in PROGRAMS else ""


def imports(path: Path) -> Iterator[str]:
    """Yield the dotted names of what a file imports of this repository."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names) if base == "slip_sockets" else (base,)


def arrows() -> set[tuple[str, str]]:
    """Return which part imports which. What the package itself offers comes from any module of the client library."""
    found = set()
    for folder in ("slip_sockets", "functions", "local_aws", "stacks", "tools"):
        for path in (ROOT / folder).rglob("*.py"):
            module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            found |= {(part_of(module), part_of(name)) for name in imports(path)}
    found |= {("main.py", part_of(name)) for name in imports(ROOT / "main.py")}
    ours = LIBRARY | PROGRAMS
    return {(one, other) for one, other in found if one in ours and other in ours and one != other}


def allowed() -> dict[str, set[str]]:
    """Return what each part may import, as the table has it."""
    (rows,) = [table[1:] for table in Page("docs/contributing.md").tables if table[0][-1].text == "may import"]
    table: dict[str, set[str]] = {}
    for parts, _, may in rows:
        names = {name.rstrip("/") for name in parts.code}
        if may.text == "anything":
            continue
        others = {name.rstrip("/") for name in may.code} & (LIBRARY | PROGRAMS)
        if may.text.startswith("all of the above but"):
            others = set(table) - others
        elif may.text.startswith("the above"):
            others |= set(table)
        elif may.text == "all of slip_sockets":
            others = set(LIBRARY)
        if "each other" in may.text or len(names) > 1:
            others |= names
        table |= dict.fromkeys(names, others)
    return table


def test_every_part_has_its_line() -> None:
    assert LIBRARY | {"functions", "local_aws", "stacks", "main.py", "tools"} <= set(allowed())


def test_imports_go_the_way_of_the_table() -> None:
    table = allowed()
    assert [(one, other) for one, other in sorted(arrows()) if other not in table[one]] == []


def test_aws_and_dev_do_not_know_each_other() -> None:
    assert not {("aws", "dev"), ("dev", "aws")} & arrows()


OF_AWS = re.compile(
    r"AWS|API Gateway|HTTP API|DynamoDB|SQS|SSM|Secrets Manager|Lambda|CloudWatch|boto|requestContext|@connections|"
    r"\b(410|429)\b"
)


def test_the_gateway_names_nothing_of_aws() -> None:
    named = [
        f"{path.name}:{number}: {line.strip()}"
        for path in sorted((ROOT / "slip_sockets" / "gateway").glob("*.py"))
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if OF_AWS.search(line)
    ]
    assert named == []


def test_every_file_that_is_named_exists() -> None:
    named = {name for name in Page("docs/contributing.md").code if re.fullmatch(r"[\w./]*\w\.py", name)}
    assert [name for name in sorted(named) if not any((ROOT / at / name).exists() for at in ("", "slip_sockets"))] == []
