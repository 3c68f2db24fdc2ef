"""What stands in front of a backend and responds in its place is named, over real HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from slip_sockets.check.judge import Level
from slip_sockets.check.play import CheckSettings, play

from .backends import SECRET, always, serving

NGINX = {"Server": "nginx/1.27.0"}
HTML = {"content_type": "text/html"}
CSRF = "responded with {}, a refusal for want of a CSRF token"


@pytest.mark.parametrize(
    ("response", "finding", "fix"),
    [
        (
            {"status": 403, "text": "<html><h1>Forbidden</h1><p>CSRF verification failed.", **HTML},
            CSRF.format(403),
            "Exempt the route from CSRF protection",
        ),
        ({"status": 419, "text": "<title>Page Expired</title>", **HTML}, CSRF.format(419), "CSRF protection"),
        (
            {"status": 422, "text": "<html><h1>The change you wanted was rejected.</h1>", **HTML},
            CSRF.format(422),
            "CSRF protection",
        ),
        ({"status": 403, "text": '{"message": "invalid csrf token"}'}, CSRF.format(403), "CSRF protection"),
        (
            {"status": 401, "headers": NGINX | {"WWW-Authenticate": 'Basic realm="staging"'}},
            "is behind a login by WWW-Authenticate: Basic (Server: nginx/1.27.0), and responded with 401",
            "no user and password",
        ),
        (
            {"status": 407, "headers": {"Via": "1.1 squid"}},
            "is behind a proxy (Via: 1.1 squid) that wants a user and a password (407)",
            "Let the proxy pass",
        ),
        (
            {"status": 502, "text": "<html><h1>502 Bad Gateway</h1>", "headers": NGINX, **HTML},
            "responded with 502 by a proxy in front of it (Server: nginx/1.27.0)",
            "Does the backend behind it run",
        ),
        (
            {"status": 503, "text": "", "headers": {"Server": "awselb/2.0"}},
            "responded with 503 by a proxy in front of it (Server: awselb/2.0)",
            "Does the backend behind it run",
        ),
        (
            {"status": 504, "headers": {"Via": "1.1 cache (Varnish)"}},
            "responded with 504 by a proxy in front of it (Via: 1.1 cache (Varnish))",
            "longer than the proxy waits",
        ),
        (
            {"status": 403, "text": "<html><p>Cloudflare Ray ID: 1", **HTML},
            "is behind a firewall (Cloudflare), which responded with 403 and a page of HTML",
            "Exempt the route from its rules",
        ),
        (
            {"status": 403, "text": "<html><h1>403 Forbidden</h1>", "headers": NGINX, **HTML},
            "responded with 403 and a page of HTML (Server: nginx/1.27.0), which is for browsers",
            "Is there a firewall",
        ),
        (
            {"status": 400, "text": "<html>The plain HTTP request was sent to HTTPS port", "headers": NGINX, **HTML},
            "responded with 400: its port speaks https, not http",
            "Set TARGET_URL to https://127.0.0.1:",
        ),
        (
            {"text": "<html>The requested URL was rejected. Please consult with your administrator.", **HTML},
            "is behind a firewall (F5), which responded with 200 and a page of HTML",
            "Exempt the route from its rules",
        ),
        ({"status": 503, "text": "busy"}, "responded with 503 (busy)", "See the backend's log"),
        (
            {"status": 404, "text": '<html><meta name="csrf-token" content="x">', **HTML},
            "responded with 404",
            "There is no such route",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_what_responds_in_place_of_the_backend_is_named(response: dict[str, Any], finding: str, fix: str) -> None:
    async with serving(always(**response)) as url:
        first = await anext(play(CheckSettings(url, SECRET)))
    assert (first.verdict.level, first.verdict.finding) == (Level.WRONG, f"{finding}: the client is refused")
    assert fix in first.verdict.fix
