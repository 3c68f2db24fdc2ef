"""What a call of the control API takes from this machine's environment: the proxy, and the certificates to trust.

Both publishers take them from here, because requests and aiohttp read different variables, each in its own way.
"""

from __future__ import annotations

import functools
import os
import re
import ssl
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import requests.utils

from ..protocol.errors import InvalidSettings
from ..protocol.urls import url_problem, without_secrets

BUNDLE_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")
"""Those of requests, curl and OpenSSL. The first that is set counts."""
SYSTEM = "the system's settings"

_PROXY_SCHEMES = ("http", "https", "socks4", "socks4a", "socks5", "socks5h")
_NAME_OF_A_CERTIFICATE = re.compile(r"[0-9a-f]{8}\.[0-9]+")
"""How OpenSSL names the certificates in a folder: https://docs.openssl.org/3.0/man1/openssl-rehash/"""


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy, and where it is set."""

    url: str
    place: str

    def __str__(self) -> str:
        """As errors show it: without a password."""
        return f"{without_secrets(self.url)} ({self.place})"

    @property
    def is_socks(self) -> bool:
        return self.url.lower().startswith("socks")


@dataclass(frozen=True, slots=True)
class Bundle:
    """A file with certificates in PEM, or a folder of OpenSSL's, and the variable that names it."""

    path: str
    variable: str

    def check(self) -> None:
        """Raises InvalidSettings."""
        self.context()

    def context(self) -> ssl.SSLContext:
        """Return a context that trusts these certificates. Raises InvalidSettings."""
        try:
            if Path(self.path).is_dir():
                if not any(_NAME_OF_A_CERTIFICATE.fullmatch(each.name) for each in Path(self.path).iterdir()):
                    raise self._invalid("is a folder without certificates that OpenSSL finds")
                return _context(self.path, 0)
            changed_at = Path(self.path).stat().st_mtime_ns
            if not Path(self.path).is_file():  # a pipe would block
                raise self._invalid("is not a file")
            return _context(self.path, changed_at)
        except ssl.SSLError as error:
            raise self._invalid("has no certificate in PEM that can be read") from error
        except OSError as error:
            raise self._invalid(f"cannot be read: {error.strerror}") from error

    def _invalid(self, problem: str) -> InvalidSettings:
        what = "Set it to a file with certificates in PEM, or unset it"
        return InvalidSettings([f"{self.variable} names {self.path!r}, which {problem}. {what}"])


def bundle_of_environment(url: str, proxy: Proxy | None) -> Bundle | None:
    """Return the certificates to trust in a call of `url`: None for those of the HTTP library, and without TLS."""
    if not any(each.lower().startswith("https:") for each in (url, proxy.url if proxy else "")):
        return None
    return next((Bundle(path, name) for name in BUNDLE_VARIABLES if (path := os.environ.get(name))), None)


def proxy_of_environment(url: str) -> Proxy | None:
    """Return the proxy for a call of `url`, None without one or if `no_proxy` excludes it. Raises InvalidSettings."""
    text = requests.utils.select_proxy(url, requests.utils.get_environ_proxies(url, no_proxy=None))
    if not text:
        return None
    place = _variable_of(text, urlsplit(url).scheme)
    proxy_url = text if "://" in text else f"http://{text}"
    if problem := _proxy_problem(proxy_url):
        what = "Set it to the URL of your proxy, e.g. http://proxy.example:3128, or unset it"
        raise InvalidSettings([f"{place} is {problem}. {what}"])
    return Proxy(proxy_url, place)


def _proxy_problem(url: str) -> str | None:
    """Return what is wrong with a proxy's URL. It may have a password, so the text does not show it."""
    scheme, _, rest = url.partition("://")
    if scheme.lower() not in _PROXY_SCHEMES:
        return "not the URL of an http, https or SOCKS proxy"
    if problem := url_problem(f"http://{rest}"):
        return problem.replace("an http or https URL", "the URL of a proxy")
    user, _, _ = urlsplit(f"http://{rest}").netloc.rpartition("@")
    try:
        unquote(user).encode("latin-1")
    except UnicodeError:
        return "not usable: its user or password has characters beyond ISO 8859-1"
    return None


def _variable_of(text: str, scheme: str) -> str:
    names = (f"{scheme}_proxy", f"{scheme}_proxy".upper(), "all_proxy", "ALL_PROXY")
    same = (name for name in os.environ if name.lower() in (names[0], names[2]))
    return next((name for name in (*names, *same) if os.environ.get(name) == text), SYSTEM)


@functools.lru_cache(maxsize=4)
def _context(path: str, changed_at: int) -> ssl.SSLContext:
    """`changed_at` makes a file that was replaced count."""
    is_folder = Path(path).is_dir()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cafile=None if is_folder else path, capath=path if is_folder else None)
    return context
