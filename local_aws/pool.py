"""The environments of one version of a function, and the events that wait for one."""

from __future__ import annotations

import asyncio
from collections import deque

from .deployed import Function
from .environment import Environment
from .host import Host
from .invocation import Failure, Invocation, Outcome

STOPPED = Failure("Runtime.Stopped", "the local AWS stopped")


class Pool:
    """Starts environments as events come, and gives each event to the first environment that is free.

    That may be a busy one, which can be ready sooner than a new one.
    """

    def __init__(self, host: Host, function: Function, *, max_environments: int) -> None:
        self.environments: set[Environment] = set()
        self._host = host
        self._function = function
        self._max_environments = max_environments
        self._waiting: deque[Invocation] = deque()

    def update(self, function: Function) -> None:
        """Continue with new code or configuration: environments of the old one end after the event that they have."""
        if function == self._function:
            return
        self._function = function
        self.retire()

    def retire(self) -> None:
        """Let each environment end after the event that it has."""
        for environment in list(self.environments):
            environment.retire()

    def invoke(self, event: bytes) -> asyncio.Future[Outcome]:
        invocation = Invocation(event)
        self._waiting.append(invocation)
        self.dispatch()
        return invocation.outcome

    def dispatch(self) -> None:
        """Give waiting events to idle environments, and start environments for the others."""
        for environment in list(self.environments):
            if self._waiting and environment.is_idle:
                environment.take(self._waiting.popleft())
        starting = sum(environment.is_starting for environment in self.environments)
        while len(self._waiting) > starting and len(self.environments) < self._max_environments:
            self.environments.add(Environment(self._host, self, self._function))
            starting += 1

    def ended(self, environment: Environment, start_failure: Failure | None) -> None:
        """An environment has ended. If it never started, an event fails with `start_failure`, as in AWS."""
        self.environments.discard(environment)
        if start_failure is not None and self._waiting:
            self._waiting.popleft().fail(start_failure)
        self.dispatch()

    async def aclose(self) -> None:
        while self._waiting:
            self._waiting.popleft().fail(STOPPED)
        environments = list(self.environments)
        for environment in environments:
            environment.stop()
        await asyncio.gather(*(environment.task for environment in environments))
