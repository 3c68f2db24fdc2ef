"""Lambda: runs functions out of their deployed zips, in processes of their own under awslambdaric."""

from __future__ import annotations

import asyncio

from .deployed import Function
from .host import Host
from .invocation import MAX_PAYLOAD_BYTES, Failure, Outcome, TooManyRequests
from .pool import Pool


class Functions:
    """All functions, each version with its pool of at most `max_environments`. A function's ARN stands for all."""

    def __init__(self, host: Host, *, max_environments: int, concurrency: int) -> None:
        self.max_environments = max_environments
        self._concurrency = concurrency
        self._in_flight = 0
        self._host = host
        self._pools: dict[str, Pool] = {}

    async def invoke(self, function: Function, event: bytes) -> Outcome:
        """Run `function` as it is deployed now. A caller that stops waiting does not stop the function.

        Raises TooManyRequests where the account's concurrency is used up. An event that waits for an environment
        counts, since it would have one in AWS.
        """
        if self._in_flight >= self._concurrency:
            raise TooManyRequests
        if len(event) > MAX_PAYLOAD_BYTES:
            message = f"the event is larger than {MAX_PAYLOAD_BYTES} bytes"
            return Outcome.of(Failure("RequestTooLargeException", message))
        pool = self._pools.get(function.arn)
        if pool is None:
            pool = self._pools[function.arn] = Pool(self._host, function, max_environments=self.max_environments)
        pool.update(function)
        outcome = pool.invoke(event)
        self._in_flight += 1
        outcome.add_done_callback(self._done)
        return await asyncio.shield(outcome)

    def _done(self, outcome: asyncio.Future[Outcome]) -> None:
        self._in_flight -= 1

    @property
    def known(self) -> list[str]:
        """The ARNs of the versions that were ever invoked."""
        return list(self._pools)

    def environments(self, arn: str) -> int:
        """Return the number of a function's processes."""
        return sum(len(pool.environments) for pool in self._of(arn))

    def kill(self, arn: str) -> None:
        """End a function's environments at once, as a crash of their machines would."""
        for environment in [environment for pool in self._of(arn) for environment in pool.environments]:
            environment.kill()

    def retire(self, arn: str) -> None:
        """End the environments of a version after the event that each has; an event may still start one."""
        for pool in self._of(arn):
            pool.retire()

    async def forget(self, arn: str) -> None:
        """Stop the environments of a function that was deleted."""
        pool = self._pools.pop(arn, None)
        if pool is not None:
            await pool.aclose()

    def _of(self, arn: str) -> list[Pool]:
        return [pool for known, pool in self._pools.items() if known == arn or known.startswith(f"{arn}:")]

    async def aclose(self) -> None:
        for arn in list(self._pools):
            await self.forget(arn)
        self._host.code.remove()
