"""A TARGET_URL that functions on AWS cannot reach."""

from __future__ import annotations

import pytest

from stacks.settings import read_settings

from .synthesis import REQUIRED


@pytest.mark.parametrize(
    ("host", "is_warned"),
    [
        *((host, True) for host in ("127.0.0.1", "[::1]", "10.0.0.7", "192.168.1.2", "169.254.1.1", "[fe80::1]")),
        *((host, True) for host in ("localhost", "backend", "mac.local", "app.localhost.", "[fd00::1]")),
        *((host, False) for host in ("app.example", "8.8.8.8", "[2606:4700::1111]", "local.example")),
    ],
)
def test_a_target_that_aws_cannot_reach_is_a_warning(host: str, is_warned: bool) -> None:
    _, warnings = read_settings(REQUIRED | {"TARGET_URL": f"https://{host}:8000/slip"})
    shown = host.strip("[]")
    line = f"TARGET_URL: the functions cannot reach {shown!r}. Set it to a public URL"
    assert warnings == ([line] if is_warned else [])
