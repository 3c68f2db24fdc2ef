"""Whether the outputs name a whole deployment."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from ..client.outputs import Outputs
from ..protocol.urls import quoted_url, url_problem
from .findings import Finding, fine, wrong
from .settings import DoctorSettings

WRITE_ANEW = "Deploy again, or run `make outputs`, which writes the file anew from the state"

_REGION_OF_HOST = re.compile(r"\.execute-api\.([a-z0-9-]+)\.")


async def check_outputs(settings: DoctorSettings) -> list[Finding]:
    problem = problem_with(settings.outputs)
    if problem is None:
        return [fine("outputs", f"{settings.path} has all of {settings.stack}, in {settings.outputs.region}")]
    return [wrong("outputs", f"{settings.path}, {settings.stack}: {problem}", WRITE_ANEW)]


def problem_with(outputs: Outputs) -> str | None:
    """Return what is wrong with an entry; its URLs are not called."""
    if problem := url_problem(outputs.control_api):
        return f"controlApi is {problem}: {quoted_url(outputs.control_api)}"
    if not is_websocket_url(outputs.websocket_url):
        return f"websocketUrl is not a ws or wss URL: {quoted_url(outputs.websocket_url)}"
    if not outputs.region:
        return "it has no region"
    for name, url in (("controlApi", outputs.control_api), ("websocketUrl", outputs.websocket_url)):
        named = _REGION_OF_HOST.search(urlsplit(url).hostname or "")
        if named is not None and named[1] != outputs.region:
            return f"{name} is in {named[1]}, and region is {outputs.region}"
    return None


def is_websocket_url(text: str) -> bool:
    scheme, found, rest = text.partition("://")
    return found != "" and scheme in ("ws", "wss") and url_problem(f"http://{rest}") is None
