"""Reads what a synth writes, for tests."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SECRET = "a-secret-of-more-than-thirty-two-bytes"
PREVIOUS_SECRETS = "the-secret-of-last-year-which-was-long,one-more"
REQUIRED = {"TARGET_URL": "https://app.example/slip", "JWT_SECRET": SECRET}
ALL_OPTIONS = {
    "DOMAIN_NAME": "ws.example.com",
    "STATE_BUCKET": "our-states",
    "ACCESS_LOGS": "true",
    "JWT_PREVIOUS_SECRETS": PREVIOUS_SECRETS,
    "ALARM_EMAIL": "operators@example.com",
    "TRACING": "true",
}
STAGING, PRODUCTION = "slip-sockets-staging", "slip-sockets"
FUNCTIONS = ("websocket", "control", "deliver")


@dataclass(frozen=True, slots=True)
class Stack:
    """A stack's Terraform configuration. `folder` is where Terraform would run."""

    folder: Path
    config: Mapping[str, Any]

    def resource(self, type_: str, address: str) -> Any:
        """Return a resource's arguments. `type_` is without the provider's prefix."""
        return self.config["resource"][f"aws_{type_}"][address]

    def addresses(self) -> list[str]:
        """Return the addresses that `terraform state list` prints after a deploy."""
        kinds = ((self.config.get("data", {}), "data."), (self.config["resource"], ""))
        return [
            f"{prefix}{type_}.{address}"
            for kind, prefix in kinds
            for type_, resources in sorted(kind.items())
            for address in sorted(resources)
        ]

    def statements(self, function: str) -> list[dict[str, Any]]:
        """Return a function's permissions."""
        return list(json.loads(self.resource("iam_role_policy", function)["policy"])["Statement"])

    def environment(self, function: str) -> dict[str, str]:
        return dict(self.resource("lambda_function", function)["environment"]["variables"])


@dataclass(frozen=True, slots=True)
class Synthesis:
    """The contents of `cdktf.out`."""

    out: Path

    def stack(self, name: str) -> Stack:
        folder = self.out / "stacks" / name
        return Stack(folder, json.loads((folder / "cdk.tf.json").read_text()))

    def files(self) -> dict[str, bytes]:
        """Return all files by their path within `out`."""
        paths = (path for path in self.out.rglob("*") if path.is_file())
        return {path.relative_to(self.out).as_posix(): path.read_bytes() for path in sorted(paths)}
