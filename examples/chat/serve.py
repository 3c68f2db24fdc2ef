"""Serves the backend on a socket that listens already, until SIGTERM or until the program that started it ends.

On its own, in front of any deployment: `flask --app examples.chat.app run --port 8000`.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading

from werkzeug.serving import make_server

from .app import create_app


def main(file_descriptor: int) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # not a line for each request
    make_server("127.0.0.1", 0, create_app(), threaded=True, fd=file_descriptor).serve_forever()


def _end_with_parent() -> None:
    """Wait for the end of standard input, a pipe without a writer, which ends with the process at its other end."""
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main(int(sys.argv[1]))
