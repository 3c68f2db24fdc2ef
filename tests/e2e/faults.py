"""What fails in the shared deployment while a test runs: calls of AWS's APIs, and of the management API."""

from __future__ import annotations

import http
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from local_aws.api_request import ApiRequest
from local_aws.apis import ApiFault

from .deployment import Deployment
from .room import Room


class Faults:
    """Nothing fails before `api` or `management`, nor after `clear`, which a fixture calls."""

    def __init__(self, deployment: Deployment, room: Room) -> None:
        self._aws = deployment.aws
        self._room = room

    def api(self, fault: ApiFault) -> None:
        self._aws.set_api_fault(fault)

    def management(self, fault: Callable[[str], Any] = lambda connection_id: None) -> ManagementCalls:
        """Have the management API fail for connections of the test's own room, as `fault` says."""
        calls = ManagementCalls(self._room, fault)
        self._aws.set_management_fault(calls)
        return calls

    def clear(self) -> None:
        self._aws.set_api_fault(lambda request: None)
        self._aws.set_management_fault(lambda method, connection_id: None)


class ManagementCalls:
    """Counts a room's calls of the management API, by connection; `fault` returns for each whether it fails."""

    def __init__(self, room: Room, fault: Callable[[str], Any]) -> None:
        self.counts: Counter[str] = Counter()
        self.fault = fault
        self._room = room

    def __call__(self, method: str, connection_id: str) -> Any:
        if connection_id not in self._room.chat.connection_ids:
            return None
        self.counts[connection_id] += 1
        return self.fault(connection_id)


class FailingService:
    """An ApiFault: calls of a service fail with each of `failures` in turn, until `stop`.

    With `operation` only its calls fail; those of the operation `but` never do.
    """

    def __init__(self, service: str, *failures: tuple[int, str], operation: str = "", but: str = "") -> None:
        self.failed = 0
        self._service = service
        self._failures = failures
        self._operation = operation
        self._but = but
        self._is_over = False
        self._since = time.monotonic()

    def __call__(self, request: ApiRequest) -> tuple[int, str] | None:
        if self._is_over or request.service != self._service or request.operation == self._but:
            return None
        if self._operation not in ("", request.operation):
            return None
        self.failed += 1
        return self._failures[self.failed % len(self._failures)]

    @property
    def age_s(self) -> float:
        return time.monotonic() - self._since

    def stop(self) -> None:
        self._is_over = True


def throttled_table(*, but: str = "") -> FailingService:
    failures = (400, "ProvisionedThroughputExceededException"), (500, "InternalServerError")
    return FailingService("dynamodb", *failures, but=but)


class CallRate:
    """A fault of the management API: it takes a number of calls a second, and refuses others with 429.

    The clock runs from the first refusal on: with a slow machine too one call is refused, of more than BURST.
    """

    BURST = 2.0

    def __init__(self, calls_per_s: float) -> None:
        self.refused = 0
        self._calls_per_s = calls_per_s
        self._tokens = self.BURST
        self._filled_at = 0.0

    def __call__(self, connection_id: str) -> http.HTTPStatus | None:
        if self.refused:
            now = time.monotonic()
            self._tokens = min(self.BURST, self._tokens + (now - self._filled_at) * self._calls_per_s)
            self._filled_at = now
        if self._tokens >= 1:
            self._tokens -= 1
            return None
        if not self.refused:
            self._filled_at = time.monotonic()
        self.refused += 1
        return http.HTTPStatus.TOO_MANY_REQUESTS
