"""How many calls a second AWS's services take from an account in a region: token buckets.

Another quota is another entry of QUOTAS; a test gives a local AWS its own in `LocalAwsSettings.quotas`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .api_request import ApiRequest, ApiResponse, error_response


@dataclass(frozen=True, slots=True)
class Quota:
    """`operations` of a service take `rate` calls a second together, and `burst` at once; none are all of them.

    A call beyond it is refused with status 400 and `code`.
    """

    service: str
    operations: frozenset[str]
    rate: float
    burst: float
    code: str = "ThrottlingException"

    def has(self, request: ApiRequest) -> bool:
        return request.service == self.service and (not self.operations or request.operation in self.operations)


SECRETS_MANAGER_READS = Quota("secretsmanager", frozenset({"DescribeSecret", "GetSecretValue"}), 10_000, 10_000)
"""https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_limits.html"""
QUOTAS = (SECRETS_MANAGER_READS,)


class TokenBucket:
    """Holds `burst` tokens at most, and gets `rate` a second. `clock` returns seconds."""

    def __init__(self, rate: float, burst: float, clock: Callable[[], float]) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._tokens = burst
        self._at = clock()

    def take(self, tokens: float = 1) -> bool:
        """Take tokens if there are enough; return whether there were."""
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens < tokens:
            return False
        self._tokens -= tokens
        return True


class Quotas:
    """The quotas of one account, with a bucket for each region."""

    def __init__(self, quotas: Sequence[Quota], clock: Callable[[], float]) -> None:
        self._quotas = quotas
        self._clock = clock
        self._buckets: dict[tuple[Quota, str], TokenBucket] = {}

    def check(self, request: ApiRequest) -> ApiResponse | None:
        """Count a call. Return AWS's refusal where it is beyond a quota."""
        for quota in self._quotas:
            if quota.has(request) and not self._bucket(quota, request.region).take():
                return error_response(request, 400, quota.code, "Rate exceeded")
        return None

    def _bucket(self, quota: Quota, region: str) -> TokenBucket:
        bucket = self._buckets.get((quota, region))
        if bucket is None:
            bucket = self._buckets[quota, region] = TokenBucket(quota.rate, quota.burst, self._clock)
        return bucket
