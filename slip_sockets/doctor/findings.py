"""What a check found, as values."""

from __future__ import annotations

import enum
from collections.abc import Sequence

import msgspec

from ..protocol.errors import SlipSocketsError


class Verdict(enum.StrEnum):
    FINE = "fine"
    WRONG = "wrong"
    UNKNOWN = "unknown"
    """The check could not be made, so that it is neither."""


class Finding(msgspec.Struct, frozen=True):
    """`check` stays the same in later releases. `fix` says what to do, for UNKNOWN what the check needs; it is empty if
    all is fine. With `blocks` a check that builds on this one cannot be made."""

    check: str
    verdict: Verdict
    finding: str
    fix: str = ""
    blocks: bool = False


class CannotCheck(SlipSocketsError):
    """A check cannot be made. `needed` says what it needs."""

    def __init__(self, reason: str, needed: str) -> None:
        super().__init__(reason)
        self.needed = needed


def fine(check: str, finding: str) -> Finding:
    return Finding(check, Verdict.FINE, finding)


def wrong(check: str, finding: str, fix: str, *, blocks: bool = False) -> Finding:
    return Finding(check, Verdict.WRONG, finding, fix, blocks)


def unknown(check: str, reason: str, needed: str, *, blocks: bool = False) -> Finding:
    return Finding(check, Verdict.UNKNOWN, reason, needed, blocks)


def counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def without_secrets_in(finding: Finding, secrets: Sequence[str]) -> Finding:
    """Return the finding with each of `secrets` replaced, should the text of an error or of a log have it."""
    text, fix = finding.finding, finding.fix
    for secret in filter(None, secrets):
        text, fix = text.replace(secret, "***"), fix.replace(secret, "***")
    return msgspec.structs.replace(finding, finding=text, fix=fix)
