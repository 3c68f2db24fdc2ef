"""How long a synth takes: with the provider's bindings loaded lazily, as the stacks do, and with all of them imported.

Each run is a process of its own, and the two ways alternate. The functions' package is built before.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from .errors import BenchError

ROOT = Path(__file__).resolve().parent.parent
ROUNDS = 3
RATIO_AT_MOST = 0.35

SYNTH = """
import sys
from pathlib import Path
from stacks.app import synthesize
settings = {"TARGET_URL": "https://app.example/slip", "JWT_SECRET": "of-a-benchmark-with-32-bytes-or-more"}
synthesize(Path(sys.argv[1]), settings)
"""
WAYS = {"ours": SYNTH, "naive": f"import cdktf_cdktf_provider_aws\n{SYNTH}"}


@dataclass(frozen=True, slots=True)
class SynthTimes:
    """Seconds, in the order of the runs."""

    ours: list[float]
    naive: list[float]

    @property
    def ratio(self) -> float:
        return median(self.ours) / median(self.naive)

    def __str__(self) -> str:
        return "\n".join(
            [
                f"synth of both stages, bindings loaded lazily    {_runs(self.ours)}",
                f"synth of both stages, all bindings imported     {_runs(self.naive)}",
                f"ratio {self.ratio:.2f}, to reach: at most {RATIO_AT_MOST}, "
                f"reached: {'yes' if self.ratio <= RATIO_AT_MOST else 'NO'}",
            ]
        )


def measure(report: Callable[[str], None], rounds: int = ROUNDS) -> SynthTimes:
    """Measure `rounds` runs of each. Raises BenchError."""
    for program in WAYS.values():  # to warm caches and build the package
        _seconds(program)
    runs: dict[str, list[float]] = {way: [] for way in WAYS}
    for number in range(1, rounds + 1):
        for way, program in WAYS.items():
            runs[way].append(_seconds(program))
            report(f"  synth {number}/{rounds}  {way:8} {runs[way][-1]:.1f} s")
    return SynthTimes(**runs)


def _seconds(program: str) -> float:
    with tempfile.TemporaryDirectory() as out:
        started = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-c", program, out], cwd=ROOT, env=os.environ, capture_output=True, text=True, check=False
        )
        took_s = time.monotonic() - started
    if done.returncode:
        raise BenchError(f"the synth failed: {done.stderr.strip()}")
    return took_s


def _runs(values: list[float]) -> str:
    return f"{median(values):5.1f} s ({min(values):.1f} to {max(values):.1f})"
