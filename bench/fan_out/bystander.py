"""Another caller of the account's API while a fan-out is under way, as connects and small publishes are."""

from __future__ import annotations

import http.client
import threading
from types import TracebackType
from typing import Self

CALLS_PER_S = 200
CONNECTION_ID = "bystander"


class Bystander:
    """Posts to the management API while it is entered, about CALLS_PER_S times a second, and repeats nothing."""

    def __init__(self, port: int) -> None:
        self.calls = 0
        self.refused = 0
        self._port = port
        self._is_ending = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_ending.set()
        self._thread.join()

    def _run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        while not self._is_ending.wait(1 / CALLS_PER_S):
            connection.request("POST", f"/live/@connections/{CONNECTION_ID}", body=str(self.calls))
            response = connection.getresponse()
            response.read()
            self.calls += 1
            self.refused += response.status == http.HTTPStatus.TOO_MANY_REQUESTS
        connection.close()
