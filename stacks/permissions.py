"""IAM's documents: what a role may do, and which service assumes it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Allow:
    """Actions that a role may call, and the resources it may call them on."""

    actions: Sequence[str]
    resources: Sequence[str]

    def statement(self) -> dict[str, object]:
        return {"Effect": "Allow", "Action": list(self.actions), "Resource": list(self.resources)}


def policy(*allows: Allow) -> str:
    return _document(*(allow.statement() for allow in allows))


def assumed_by(service: str) -> str:
    """Return the trust policy of a role for a service of AWS, such as `lambda`."""
    principal = {"Service": f"{service}.amazonaws.com"}
    return _document({"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": principal})


def _document(*statements: dict[str, object]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": statements})
