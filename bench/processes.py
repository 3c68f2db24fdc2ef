"""What processes use, as Linux counts it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Usage:
    """Resident memory now (pages that two processes share count twice), and processor time since the start."""

    rss_bytes: int
    cpu_s: float


def usage(pid: int) -> Usage:
    """Return what a process and all its descendants use together."""
    parent_of: dict[int, int] = {}
    used: dict[int, Usage] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                stat = (folder / "stat").read_text()
            except OSError:  # it has just ended
                continue
            # See proc_pid_stat(5). The name may contain anything, so fields are counted from its end: field 3 is next.
            fields = stat.rpartition(")")[2].split()
            parent_of[int(folder.name)] = int(fields[4 - 3])
            cpu_s = (int(fields[14 - 3]) + int(fields[15 - 3])) / _TICKS_PER_S
            used[int(folder.name)] = Usage(int(fields[24 - 3]) * _PAGE_BYTES, cpu_s)
    family = [each for member, each in used.items() if pid in _line(member, parent_of)]
    return Usage(sum(each.rss_bytes for each in family), sum(each.cpu_s for each in family))


def _line(pid: int, parent_of: dict[int, int]) -> set[int]:
    """Return a process and its ancestors."""
    line = set()
    while pid in parent_of and pid not in line:
        line.add(pid)
        pid = parent_of[pid]
    return line
