"""`python -m tests.churn`: a long churn, its figures, and what must hold of them. `make soak` runs it."""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import statistics
import sys

from .churn import Churn, Figures
from .files import allow_many_files
from .server import Look

MAX_GROWTH = 1.05
"""The memory in the last tenth of the time, by that after six tenths: by then, in ten minutes, the server has as many
message ids to remember as it will ever have, those of five minutes."""

MIN_LOOKS = 20


def main() -> None:
    asked = _parser().parse_args()
    logging.basicConfig(level=logging.ERROR)
    allow_many_files()
    churn = Churn(asked.seconds, asked.sockets, asked.seed)
    print(f"{asked.sockets} sockets for {asked.seconds:g} s, seed {asked.seed}", flush=True)
    figures = asyncio.run(churn.run())
    _print(churn, figures)
    if len(figures.looks) < MIN_LOOKS:
        print("memory: not judged, the time was too short")
        return
    before, after = _memory(figures, 0.6, 0.7), _memory(figures, 0.9, 1.0)
    growth = after / before
    print(f"memory: {before:.1f} MB after six tenths of the time, {after:.1f} MB at its end: {growth:.3f} times")
    if growth > MAX_GROWTH:
        sys.exit(f"the memory is not level: it grew to more than {MAX_GROWTH} times")


def _print(churn: Churn, figures: Figures) -> None:
    model = churn.model
    sockets = [look.sockets for _, look in figures.looks]
    print(f"{figures.seconds:.0f} s; sockets: {statistics.mean(sockets):.0f} on average, {max(sockets)} at most")
    print(", ".join(f"{name} {count:,}" for name, count in sorted(figures.counts.items())))
    print(f"messages: {model.published:,} published, {model.delivered:,} delivered, {model.due:,} of them due")
    print("lost silently, doubled, out of order, or at a wrong client: 0 (the first would have ended this)")
    for name, look in (("before", figures.first), ("after", figures.last)):
        print(f"{name}: {_described(look)}")


def _described(look: Look) -> str:
    return (
        f"{look.rows} rows, {look.sockets} sockets, {look.groups} groups, {look.dead_letters} dead letters,"
        f" {look.tasks} tasks, {look.files} files, {look.memory_mb:.1f} MB"
    )


def _memory(figures: Figures, begin: float, end: float) -> float:
    """Return the server's mean resident memory between two parts of the time."""
    total = figures.looks[-1][0]
    return statistics.mean(look.memory_mb for at, look in figures.looks if begin * total <= at <= end * total)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.churn", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--sockets", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    return parser


if __name__ == "__main__":
    main()
