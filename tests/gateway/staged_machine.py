"""What the machines of this folder share: functions of a gateway that run in any order, and may die at any call.

A machine makes its parts in an `initialize` rule.
"""

import asyncio
import random
from collections.abc import Coroutine
from typing import Any, TypeVar

import hypothesis.strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from slip_sockets.apigateway.functions import websocket_function
from slip_sockets.gateway.gateway import Gateway

from .doubles import SECRET, FakeClock
from .stage import FUNCTION_S, Stage, StagedQueue

seeds = st.integers(0, 2**32)
T = TypeVar("T")


class StagedMachine(RuleBasedStateMachine):
    runner: asyncio.Runner
    clock: FakeClock
    stage: Stage
    queue: StagedQueue
    gateway: Gateway

    async def secrets(self) -> list[str]:
        return [SECRET]

    @rule(seed=seeds, steps=st.integers(1, 60), trouble=st.sampled_from([0, 0.05, 0.2]))
    def work(self, seed: int, steps: int, trouble: float) -> None:
        self.run(self.steps(random.Random(seed), steps, trouble))

    async def steps(self, chance: random.Random, count: int, trouble: float) -> None:
        for _ in range(count):
            if chance.random() < 0.3:
                self.queue.take(chance, self.gateway.worker)
            if not await self.stage.step(chance, trouble) and not self.queue.take(chance, self.gateway.worker):
                return

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(coroutine)

    def start(self, id_: str, event: dict[str, Any], then: Any = lambda response: None) -> None:
        """Begin the function of a connection's event; `then` is called with its response."""
        event["requestContext"]["connectionId"] = id_
        deadline = self.clock.now() + FUNCTION_S - 1
        self.stage.start(websocket_function(self.gateway.sockets, event, deadline=deadline), then)
