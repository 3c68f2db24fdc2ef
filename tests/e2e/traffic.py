"""Clients and a publisher that go on while a stage is deployed anew."""

from __future__ import annotations

import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from websockets.sync.client import ClientConnection, connect

from slip_sockets import SlipSocketsPublisher

from .backend import Chat, ChatBackend, open_chat
from .patience import PATIENCE_S


def connected(url: str, chat: Chat) -> ClientConnection:
    # Without pings of its own: a busy machine's responses to them may come too late.
    return connect(f"{url}?room={chat.room}", open_timeout=PATIENCE_S, ping_interval=None, proxy=None)


VISITORS = 2
EVERY_S = 3.0
"""How often each acts, all at the same moment: a deploy finds more than one environment of a function to start anew,
and has the processor in between."""


class Traffic:
    """Goes on until the `with` ends: a socket that stays and speaks, visitors that come, speak and leave, a publisher.

    Each waits for what it asked for, a socket that has left also for its CLOSE to reach the backend. A refusal, or what
    does not come, is raised at the end. Each visitor has a room of its own: a text for a connection that is still
    opening would go by the queue, and later ones behind it.
    """

    def __init__(self, url: str, publisher: SlipSocketsPublisher, *backends: ChatBackend) -> None:
        self.done: Counter[str] = Counter()
        self._url = url
        self._publisher = publisher
        self._backends = backends
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = ThreadPoolExecutor(1 + VISITORS, "traffic")

    def __enter__(self) -> Traffic:
        self._running = [self._threads.submit(act) for act in (self._stay, *[self._visit] * VISITORS)]
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._threads.shutdown()
        for running in self._running:
            running.result()

    def _visit(self) -> None:
        def visit() -> None:
            with open_chat(*self._backends) as chat:
                with connected(self._url, chat) as client:
                    _speak(client)
                _wait_for_close(chat)

        self._repeat("visits", visit)

    def _stay(self) -> None:
        with open_chat(*self._backends) as chat:
            with connected(self._url, chat) as client:
                _speak(client)
                with self._publisher, ThreadPoolExecutor(1, "publisher") as publisher:
                    publishing = publisher.submit(self._repeat, "publishes", lambda: self._publish(chat))
                    try:
                        self._repeat("texts", lambda: _speak(client))
                    finally:
                        self._stop.set()
                publishing.result()
            _wait_for_close(chat)

    def _publish(self, chat: Chat) -> None:
        report = self._publisher.publish_text(chat.room, "from outside")
        assert report is not None
        assert report.queued == 0

    def _repeat(self, name: str, act: Callable[[], None]) -> None:
        while not self._stop.wait(EVERY_S - time.monotonic() % EVERY_S):
            act()
            with self._lock:
                self.done[name] += 1


def _wait_for_close(chat: Chat) -> None:
    assert chat.closed.wait(PATIENCE_S), f"the CLOSE of {chat.connection_ids} is lost"


def _speak(client: ClientConnection) -> None:
    word = uuid.uuid4().hex
    client.send(word)
    while client.recv(PATIENCE_S) != f"somebody: {word}":
        pass
