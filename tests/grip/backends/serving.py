"""Serves a WSGI application on loopback, a thread for each request."""

from __future__ import annotations

import os
import socketserver
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Handler(WSGIRequestHandler):
    def log_message(self, *args: object) -> None:
        """Log no requests."""


def serve(application: Any) -> None:
    """Serve at PORT until the process is ended."""
    make_server("127.0.0.1", int(os.environ["PORT"]), application, _Server, _Handler).serve_forever()
