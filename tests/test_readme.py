"""The README's first program is the example that the tests run."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_the_smallest_backend_is_the_example_and_under_15_lines() -> None:
    program = (ROOT / "examples" / "minimal" / "app.py").read_text()
    assert f"```python\n{program}```" in README
    assert len([line for line in program.splitlines() if line.strip()]) < 15
