"""API Gateway's management API, `@connections`, through boto3 and a few threads."""

from __future__ import annotations

import http
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from ..gateway.ports import Outcome
from .calls import calling, error_code

if TYPE_CHECKING:
    from types_boto3_apigatewaymanagementapi.client import ApiGatewayManagementApiClient

MAX_CONCURRENT_CALLS = 16
"""Also what the client's connection pool needs to hold."""


class ApiGatewayManagement:
    """The Management port. `client` should not retry by itself: the gateway knows better how long a frame may wait."""

    def __init__(self, client: ApiGatewayManagementApiClient) -> None:
        self._client = client
        self._threads = ThreadPoolExecutor(MAX_CONCURRENT_CALLS, "management")

    async def post(self, connection_ids: Sequence[str], data: str) -> Outcome:
        payload = data.encode()
        return self._for_each(
            connection_ids, lambda whose: self._client.post_to_connection(ConnectionId=whose, Data=payload)
        )

    async def delete(self, connection_ids: Sequence[str]) -> Outcome:
        return self._for_each(connection_ids, lambda whose: self._client.delete_connection(ConnectionId=whose))

    async def is_open(self, connection_id: str) -> bool:
        with calling("management API"):
            try:
                self._client.get_connection(ConnectionId=connection_id)
            except ClientError as error:
                if error_code(error) != "GoneException":
                    raise
                return False
        return True

    def _for_each(self, connection_ids: Sequence[str], call: Callable[[str], object]) -> Outcome:
        def attempt(connection_id: str) -> ClientError | BotoCoreError | None:
            try:
                call(connection_id)
            except (ClientError, BotoCoreError) as error:
                return error
            return None

        outcome = Outcome()
        for whose, error in zip(connection_ids, self._threads.map(attempt, connection_ids), strict=True):
            if error is None:
                outcome.done += 1
            else:
                _record(outcome, whose, error)
        return outcome


def _record(outcome: Outcome, connection_id: str, error: ClientError | BotoCoreError) -> None:
    """File an error by its HTTP status, which every error has; names differ between AWS's pages and its answers."""
    status = error.response["ResponseMetadata"]["HTTPStatusCode"] if isinstance(error, ClientError) else None
    if status == http.HTTPStatus.GONE:
        outcome.gone.append(connection_id)
    elif status is None or status == http.HTTPStatus.TOO_MANY_REQUESTS or status >= 500:
        outcome.failed[connection_id] = str(error)
    else:
        outcome.refused[connection_id] = str(error)
