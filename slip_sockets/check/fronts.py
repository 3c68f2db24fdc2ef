"""Responses that are not the backend's handler's own, but of what stands in front of it. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from ..protocol.errors import ERROR_HEADER
from ..protocol.json_faults import page_in
from ..protocol.quoting import printable
from ..protocol.urls import without_secrets
from .target import Attempt

MAX_NAME = 60
_INVISIBLE = re.compile(rb"(?is)<(script|style)\b.*?</\1\s*>|<[^>]*>")
_CSRF = re.compile(rb"(?i)\bcsrf\b|\bxsrf\b|anti-?forgery|authenticity ?token|cross-site (?:request|post)")
_CSRF_STATUSES = (400, 401, 403, 419, 422)
_RAILS_REFUSAL = b"The change you wanted was rejected"
_HTTP_TO_TLS = re.compile(
    rb"(?i)plain HTTP request was sent to HTTPS port|speaking plain HTTP to an SSL-enabled"
    rb"|HTTP request to an HTTPS server|combination of host and port requires TLS"
)
_USER_SCHEMES = re.compile(r"(?i)(?:^|,)\s*(basic|digest|negotiate|ntlm)\b")
_PROXIES = re.compile(
    r"(?i)nginx|openresty|apache|cloudflare|awselb|cloudfront|envoy|haproxy|varnish|caddy|traefik|squid|heroku|vegur"
    r"|akamai|iis|litespeed|fastly|google frontend|gws|istio|kong|tengine"
)
_FIREWALLS = {
    "Cloudflare": re.compile(rb"(?i)cloudflare ray id|attention required! \| cloudflare|<title>just a moment"),
    "Imperva": re.compile(rb"(?i)incapsula"),
    "Sucuri": re.compile(rb"(?i)sucuri website firewall"),
    "ModSecurity": re.compile(rb"(?i)mod_?security"),
    "F5": re.compile(rb"(?i)the requested url was rejected\. please consult with your administrator"),
    "Akamai": re.compile(rb"(?i)<h1>access denied</h1>.*reference\s*(?:#|&#35;)", re.DOTALL),
    "CloudFront or AWS WAF": re.compile(rb"(?i)request could not be satisfied"),
}
_FIREWALL_STATUSES = (200, 403, 406, 429, 503)
_PROXY_FIXES = {
    502: "Does the backend behind it run, and has the proxy its right address? See the proxy's log",
    503: "Does the backend behind it run, and is there a limit of requests? See the proxy's log",
    504: "The backend took longer than the proxy waits. Respond first, and do slow work afterwards",
}


def explain(attempt: Attempt) -> tuple[str, str] | None:
    """Return what responded in place of the backend, and what to do; None where it looks like the backend itself.

    The first completes the sentence "the backend ...".
    """
    status, headers, body = attempt.status, attempt.headers, attempt.body
    if ERROR_HEADER.lower() in headers:
        return None
    if status == 400 and _HTTP_TO_TLS.search(body):
        url = without_secrets(attempt.url).replace("http://", "https://", 1)
        query = ", with the same query" if urlsplit(attempt.url).query else ""
        return f"responded with {status}: its port speaks https, not http", f"Set TARGET_URL to {url}{query}"
    by = _named(headers)
    if status == 407:
        return f"is behind a proxy{by} that wants a user and a password (407)", "Let the proxy pass the gateway's POSTs"
    if status == 401 and (scheme := _USER_SCHEMES.search(headers.get("www-authenticate", ""))):
        fix = "Exempt the route from it: the gateway sends its token in Authorization, and no user and password"
        return f"is behind a login by WWW-Authenticate: {scheme[1].capitalize()}{by}, and responded with 401", fix
    if _is_csrf(status, body):
        fix = "Exempt the route from CSRF protection: the token proves who calls. The adapter for Django does so"
        return f"responded with {status}, a refusal for want of a CSRF token", fix
    page = page_in(body)
    if page is not None and status in _FIREWALL_STATUSES:
        fix = "Exempt the route from its rules"
        for name, pattern in _FIREWALLS.items():
            if pattern.search(body):
                return f"is behind a firewall ({name}), which responded with {status} and a page of HTML", fix
        if status in (403, 406):
            fix = "Is there a firewall, a rule of access, a login or a CSRF check in front of it? Exempt the route"
            return f"responded with {status} and {page}{by}, which is for browsers", fix
    is_page = page is not None or not body.strip()
    if status in (502, 504) or 520 <= status <= 527 or (status == 503 and by and is_page):
        fix = _PROXY_FIXES.get(status, _PROXY_FIXES[502])
        return f"responded with {status} by a proxy in front of it{by}", fix
    return None


def _is_csrf(status: int, body: bytes) -> bool:
    if status == 419:
        return True
    text = _INVISIBLE.sub(b" ", body)
    return status in _CSRF_STATUSES and bool(_CSRF.search(text) or (status == 422 and _RAILS_REFUSAL in text))


def _named(headers: Mapping[str, str]) -> str:
    """Return the proxy's name as its headers have it, empty where none does."""
    found = [
        f"{title}: {printable(headers[name][:MAX_NAME])}"
        for name, title in (("server", "Server"), ("via", "Via"), ("ngrok-error-code", "Ngrok-Error-Code"))
        if headers.get(name) and (name != "server" or _PROXIES.search(headers[name]))
    ]
    return f" ({', '.join(found)})" if found else ""
