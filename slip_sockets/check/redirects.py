"""What a backend's redirect means, and the TARGET_URL that avoids it. Pure."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, urljoin, urlsplit

from ..protocol.quoting import printable
from ..protocol.urls import url_problem, without_secrets

MAX_SHOWN = 200
NO_REDIRECT = "The gateway follows no redirect"
_LOGIN = re.compile(
    r"(?i)(?:^|[/._-])(?:log-?_?in|log-?_?on|sign-?_?in|sso|saml2?|oauth2?|oidc|authorize|cloudflareaccess)(?:$|[/._-])"
)
_LOGIN_QUERY = re.compile(r"(?i)(?:^|&)(?:next|redirect_uri|return_?to|return_?url|SAMLRequest|client_id)=")


def explain(url: str, location: str) -> tuple[str, str]:
    """Return where a redirect of a POST to `url` leads, as text without secrets, and what to do."""
    if not location:
        return "nowhere", f"{NO_REDIRECT}. Point TARGET_URL at the route itself"
    try:
        place = urljoin(url, location)
    except ValueError:
        place = ""
    if url_problem(place) is not None:
        shown = printable(location.partition("?")[0][:MAX_SHOWN])
        what = f"{shown.rpartition('@')[2]!r}, which is not an http or https URL"
        return what, f"See the backend's log. {NO_REDIRECT}"
    old, new = urlsplit(url), urlsplit(place)
    shown = without_secrets(place)
    if _is_login(old, new):
        fix = "Exempt the route from the login: the token proves who calls. TARGET_URL need not change"
        return f"a login, {shown[:MAX_SHOWN]}", fix
    if (old.scheme, old.netloc.rpartition("@")[2], old.path) == (new.scheme, new.netloc.rpartition("@")[2], new.path):
        fix = "Does it want a cookie, or does a proxy in front not pass on that the request came by https?"
        return f"itself, {shown[:MAX_SHOWN]}", f"{NO_REDIRECT}. {fix}"
    same_query = ", with the same query" if old.query else ""
    is_route = old.path.rstrip("/") == new.path.rstrip("/")
    set_it = "Set" if is_route else "If that is the route that takes the gateway's POSTs, set"
    return shown[:MAX_SHOWN] + _difference(old, new), f"{NO_REDIRECT}. {set_it} TARGET_URL to {shown}{same_query}"


def _is_login(old: SplitResult, new: SplitResult) -> bool:
    if old.path.rstrip("/") == new.path.rstrip("/"):
        return False
    host = new.hostname or ""
    is_new_host = host != (old.hostname or "")
    return bool(_LOGIN.search(new.path) or _LOGIN_QUERY.search(new.query) or (is_new_host and _LOGIN.search(host)))


def _difference(old: SplitResult, new: SplitResult) -> str:
    found = []
    if old.scheme != new.scheme:
        found.append(f"{new.scheme} instead of {old.scheme}")
    if old.hostname != new.hostname:
        found.append("another host")
    elif old.scheme == new.scheme and old.port != new.port:
        found.append("another port")
    if old.path != new.path:
        if old.path.rstrip("/") != new.path.rstrip("/"):
            found.append("another path")
        else:
            found.append("with a slash at the end" if new.path.endswith("/") else "without a slash at the end")
    return f" ({', '.join(found)})" if found else ""
