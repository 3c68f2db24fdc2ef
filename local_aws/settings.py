"""What a local AWS is started with."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from slip_sockets.dev.edge import Limits

from .api_request import DEFAULT_REGION
from .quotas import QUOTAS, Quota
from .strictness import Strictness


@dataclass(frozen=True, slots=True)
class LocalAwsSettings:
    """`port` 0 takes a free one. `runtime_python` has awslambdaric and boto3, and nothing of the project.

    Two local AWS with different accounts are independent. Two with the same account in one process would share their
    state, since moto's state belongs to the process.
    """

    runtime_python: Path
    port: int = 4566
    account_id: str = "000000000000"
    region: str = DEFAULT_REGION
    limits: Limits = field(default_factory=Limits)
    max_environments: int = 8
    """Largest number of processes of each function."""
    quotas: Sequence[Quota] = QUOTAS
    """How many calls a second AWS's services take."""
    strictness: Strictness = field(default_factory=Strictness)
    clock: Callable[[], float] = time.monotonic
    """Of quotas and delays, in seconds."""
