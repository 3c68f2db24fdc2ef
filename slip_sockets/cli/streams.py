"""The standard streams of a command, which a user may have closed, or sent to a full disk or a closed pipe."""

from __future__ import annotations

import io
import os
import sys
from typing import TextIO

STDOUT, STDERR = "stdout", "stderr"


def prepare_streams() -> None:
    """Make stdout and stderr name themselves in their errors, and escape what their encoding does not have.

    The numbers of closed ones are reserved: else the next socket or file has the number of stdout, and gets what
    libraries print.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    for name in (STDOUT, STDERR):
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):
            if stream is getattr(sys, f"__{name}__"):
                stream = _Named(name, stream)
                setattr(sys, name, stream)
            stream.reconfigure(errors="backslashreplace")


def abandon_unwritten() -> None:
    """Let go of what cannot be written: else Python, which tries it again at its end, ends with a status of its own."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:  # as it is for one that is closed
                stream.flush()
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)


class _Named(io.TextIOWrapper):
    """A stream that puts its name into its OSErrors, as their `filename`."""

    def __init__(self, name: str, stream: TextIO) -> None:
        line_buffering = isinstance(stream, io.TextIOWrapper) and stream.line_buffering
        super().__init__(stream.buffer, encoding=stream.encoding, line_buffering=line_buffering)
        self._name = name

    def write(self, text: str, /) -> int:
        try:
            return super().write(text)
        except OSError as error:
            error.filename = self._name
            raise

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            error.filename = self._name
            raise
