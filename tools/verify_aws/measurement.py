"""What a measurement is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from .findings import Finding, Line, Verdict
from .stage import Stage


class Skipped(Exception):
    """The options leave too little time for it. The text says how much it needs."""


@dataclass
class Context:
    """What measurements work with. `minutes` is how long a long one may take, `clients` how many sockets are opened.

    `ids` are those of the sockets of the cold start.
    """

    stage: Stage
    minutes: float
    clients: int
    outputs: dict[str, str] = field(default_factory=dict)
    ids: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return self.outputs["websocketUrl"]

    @property
    def management_url(self) -> str:
        return self.url.replace("ws", "http", 1)

    async def call(self, service: str, operation: str, **parameters: Any) -> Any:
        """Call AWS in a thread."""
        return await asyncio.to_thread(lambda: getattr(self.stage.client(service), operation)(**parameters))


@dataclass(frozen=True, slots=True)
class Measurement:
    """`not_here` says why the local AWS cannot show it; it is run there all the same, so that the program is tested."""

    name: str
    expected: str
    run: Callable[[Context], Awaitable[Finding]]
    not_here: str | None = None

    async def line(self, context: Context) -> Line:
        began = time.monotonic()

        def line(verdict: Verdict, seen: str, meaning: str = "") -> Line:
            return Line(self.name, self.expected, seen, verdict, meaning, time.monotonic() - began)

        try:
            finding = await self.run(context)
        except Skipped as skipped:
            return line(Verdict.SKIPPED, "", str(skipped))
        except Exception as error:  # noqa: BLE001 - the others go on
            return line(Verdict.FAILED, "", f"{type(error).__name__}: {error}")
        if context.stage.is_local and self.not_here is not None:
            return line(Verdict.NOT_MEASURABLE, finding.seen, f"not measurable on the local AWS: {self.not_here}")
        if finding.differs is not None:
            return line(Verdict.DIFFERS, finding.seen, finding.differs)
        return line(Verdict.AS_EXPECTED, finding.seen)
