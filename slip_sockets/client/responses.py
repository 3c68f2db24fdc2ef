"""What a response to a call of the control API means, its I/O apart: reports, or an error in one line."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from urllib.parse import urljoin

from ..protocol.bodies import DONE, decode_done, decode_fault
from ..protocol.errors import ControlApiError, ControlApiRefused, ControlApiUnavailable
from ..protocol.events import AnyReport
from ..protocol.urls import url_problem, without_secrets
from .environment import Proxy

MAX_RESPONSE_BYTES = 10 * 1024 * 1024
"""The largest payload of an HTTP API: https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-quotas.html"""

_OK = 200
_PROXY_NEEDS_USER = 407
_TOO_MANY_REQUESTS = 429
_REDIRECT = 300
_BAD_REQUEST = 400
_SERVER_ERROR = 500
_HTML = re.compile(r"\s*<(!doctype html|html|head|body)\b", re.IGNORECASE)
_TITLE = re.compile(r"<title[^<>]{0,100}>(.{0,300}?)</title>", re.IGNORECASE | re.DOTALL)
_TOKEN = re.compile(r"eyJ[\w-]{3,}[\w.-]*")
"""A JSON Web Token, or the beginning of one."""
_SHOWN = 200
"""Characters of a response that an error shows."""
_SHOWN_OF_ERROR = 1_000
"""Characters of the reason in it that an error shows."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a call goes, for its errors. They never show `token`, which a server may send back."""

    url: str
    token: str
    proxy: Proxy | None

    @property
    def place(self) -> str:
        through = f" through the proxy {self.proxy}" if self.proxy else ""
        return f"{without_secrets(self.url)}{through}"

    def without_token(self, text: str) -> str:
        """Return a text without the token and without parts of it, which a response that is cut may have."""
        return _TOKEN.sub("...", text.replace(self.token.rpartition(".")[2], "..."))

    def clean(self, text: str) -> str:
        """Return a text of the other side in one line, without what a terminal would obey."""
        text = self.without_token(text)
        return " ".join("".join(c if c.isprintable() else " " for c in text).split())

    def no_response(self, reason: str, *, had_no_effect: bool) -> ControlApiUnavailable:
        return ControlApiUnavailable(
            f"no response from the control API {self.place}: {self.clean(reason)}",
            proxy=str(self.proxy) if self.proxy else None,
            had_no_effect=had_no_effect,
        )

    def no_tunnel(self, proxy: Proxy, status: int) -> ControlApiError:
        """Return the error for a proxy that does not connect to an https URL. Nothing has been sent through it."""
        if status == _PROXY_NEEDS_USER:
            return self.proxy_needs_user(proxy)
        message = f"the proxy {proxy} does not connect to {without_secrets(self.url)}: it responded with {status}"
        if status < _SERVER_ERROR and status != _TOO_MANY_REQUESTS:
            return ControlApiRefused(message, status=status, proxy=str(proxy))
        return ControlApiUnavailable(message, status=status, proxy=str(proxy), had_no_effect=True)

    def proxy_needs_user(self, proxy: Proxy) -> ControlApiRefused:
        what = f"Set them in {proxy.place}, e.g. http://USER:PASSWORD@proxy.example:3128"
        message = f"the proxy {proxy} wants a user and a password, or others: it responded with 407. {what}"
        return ControlApiRefused(message, status=_PROXY_NEEDS_USER, proxy=str(proxy))


@dataclass(frozen=True, slots=True)
class ControlResponse:
    """An HTTP response. `location` and `content_type` are its headers, empty if it has none.

    `body` has at most one byte more than MAX_RESPONSE_BYTES.
    """

    status: int
    body: bytes
    location: str = ""
    content_type: str = ""

    def reports(self, target: Target, count: int) -> list[AnyReport | None]:
        """Return a report for each of `count` events, None for one without.

        Raises ControlApiRefused or ControlApiUnavailable.
        """
        if self.status == _OK and len(self.body) <= MAX_RESPONSE_BYTES:
            reports = decode_done(self.body, count)
            if reports is not None:
                return reports
        raise self._error(target)

    def _error(self, target: Target) -> ControlApiError:
        text = target.without_token(self.body.decode(errors="replace"))
        content = self._content(target, text)
        status = self.status
        if status == _OK and DONE.encode() in self.body:
            message = f"the response of the control API {target.place} is not whole: {content}"
            return ControlApiUnavailable(message, status=status, body=text)
        if status == _PROXY_NEEDS_USER and target.proxy:
            return target.proxy_needs_user(target.proxy)
        fault = decode_fault(self.body)
        is_own = fault.is_known or text.strip() == "Invalid token"
        proxy = None if is_own or target.proxy is None else str(target.proxy)
        if status < _BAD_REQUEST:
            what = self._redirect(target) or f"responded with {status} ({content or 'no body'})"
            message = f"{target.place} is not a control API: it {what}. The outputs file has the control API's URL"
            return ControlApiRefused(message, status=status, body=text, proxy=proxy)
        through = f" {target.place}" if proxy else ""
        shown = target.clean(fault.error)[:_SHOWN_OF_ERROR] or content
        message = f"the control API{through} responded with {status}{f': {shown}' if shown else ''}"
        if status < _SERVER_ERROR and status != _TOO_MANY_REQUESTS:
            return ControlApiRefused(message, status=status, body=text, index=fault.index, proxy=proxy)
        had_no_effect = status == _TOO_MANY_REQUESTS
        return ControlApiUnavailable(
            message, status=status, body=text, index=fault.index, proxy=proxy, had_no_effect=had_no_effect
        )

    def _redirect(self, target: Target) -> str | None:
        if self.status < _REDIRECT or not self.location:
            return None
        try:
            place = urljoin(target.url, self.location)
            shown = "what is not a URL" if url_problem(place) else without_secrets(place)
        except ValueError:
            shown = "what is not a URL"
        return f"redirects ({self.status}) to {target.clean(shown)[:_SHOWN]}"

    def _content(self, target: Target, text: str) -> str:
        """Return what the body is; an empty text for an empty one."""
        if len(self.body) > MAX_RESPONSE_BYTES:
            return f"more than {MAX_RESPONSE_BYTES // 2**20} MiB"
        if "html" in self.content_type.lower() or _HTML.match(text):
            title = _TITLE.search(text)
            name = target.clean(html.unescape(title[1]))[:_SHOWN] if title else ""
            return f"a page of HTML, {name!r}" if name else "a page of HTML"
        return target.clean(text[:_SHOWN])
