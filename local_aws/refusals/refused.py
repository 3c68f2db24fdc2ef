"""The error of a request that AWS does not take."""

from __future__ import annotations


class Refused(Exception):
    """`code` is AWS's; the text is the message that AWS sends."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
