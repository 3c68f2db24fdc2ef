"""The chat's backend in this process, on a real port."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

from werkzeug.serving import make_server

from examples.chat.app import create_app


class Backend:
    """The backend on a real port. `restart` forgets all that a process would forget."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/"

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        server = make_server("127.0.0.1", 0, create_app(), threaded=True, fd=self._listener.fileno())
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()
            server.server_close()

    def close(self) -> None:
        self._listener.close()
