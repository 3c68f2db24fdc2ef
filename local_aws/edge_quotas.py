"""How much API Gateway takes: token buckets of each stage, and of the account in each region.

https://docs.aws.amazon.com/apigateway/latest/developerguide/websocket-api-protect.html
"""

from __future__ import annotations

from collections.abc import Callable

from .deployed import Stage
from .quotas import TokenBucket
from .strictness import Strictness


class EdgeQuotas:
    """Each method takes what one request needs, and returns whether API Gateway accepts the request.

    `clock` returns seconds.
    """

    def __init__(self, strictness: Strictness, clock: Callable[[], float]) -> None:
        self._strictness = strictness
        self._clock = clock
        self._requests: dict[str, TokenBucket] = {}
        self._connects: dict[str, TokenBucket] = {}
        self._stages: dict[tuple[str, str, float, float], TokenBucket] = {}

    def take_connect(self, stage: Stage) -> bool:
        """For a new socket, with its $connect."""
        rate = self._strictness.connect_rate
        if stage.region not in self._connects:
            self._connects[stage.region] = TokenBucket(rate, rate, self._clock)
        return self._connects[stage.region].take() and self.take_request(stage)

    def take_request(self, stage: Stage) -> bool:
        """For an event of a route, or a request to an HTTP API."""
        return self._stage(stage).take() and self.take_call(stage)

    def take_call(self, stage: Stage) -> bool:
        """For a call of the management API. Whether the stage's bucket holds for it too is not documented."""
        if stage.region not in self._requests:
            rate, burst = self._strictness.request_rate, self._strictness.request_burst
            self._requests[stage.region] = TokenBucket(rate, burst, self._clock)
        return self._requests[stage.region].take()

    def _stage(self, stage: Stage) -> TokenBucket:
        """A stage that gets other limits gets a new bucket."""
        key = (stage.api_id, stage.name, stage.throttling_rate, stage.throttling_burst)
        if key not in self._stages:
            self._stages[key] = TokenBucket(stage.throttling_rate, stage.throttling_burst, self._clock)
        return self._stages[key]
