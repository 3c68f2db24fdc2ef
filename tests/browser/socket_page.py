"""A window with a `SlipSocket` in it, and the server that it comes from."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from slip_sockets.browser import MODULE

from .page import Page

PAGE = """<!doctype html><title>SlipSocket</title><script type="module">
import { SlipSocket } from "./slip-sockets.js";
const types = ["connecting", "open", "message", "waiting", "close", "lost", "error"];
window.heard = [];
window.begin = (url, options) => {
  window.socket = new SlipSocket(url, options);
  for (const type of types) {
    socket.addEventListener(type, ({ data, replaces, pauseMs, code, reason, error, channel, position }) => {
      heard.push({ type, data, replaces, pauseMs, code, reason, error: error && String(error), channel, position });
    });
  }
};
window.caught = (act) => { try { act(); return null; } catch (error) { return String(error); } };
</script>"""


class SocketPage(Page):
    """A window with the module in it; `begin` makes its one socket."""

    async def until_loaded(self) -> None:
        await self.until("typeof window.begin === 'function'")

    async def begin(self, url: str, **options: object) -> None:
        await self.run("begin(arguments[0], arguments[1])", url, options)

    async def heard(self, *types: str) -> list[dict[str, Any]]:
        """Return the events so far, of these types or of all."""
        heard: list[dict[str, Any]] = await self.run("return heard")
        return [event for event in heard if not types or event["type"] in types]

    async def until_heard(self, count: int, *types: str) -> list[dict[str, Any]]:
        """Wait for so many events of these types, and return all of them."""
        enough = "heard.filter(({ type }) => arguments[0].includes(type)).length >= arguments[1]"
        await self.until(enough, types, count)
        return await self.heard(*types)

    async def texts(self) -> list[str]:
        return [event["data"] for event in await self.heard("message")]

    async def until_texts(self, count: int) -> list[str]:
        return [event["data"] for event in await self.until_heard(count, "message")]


@asynccontextmanager
async def serving_the_page() -> AsyncIterator[str]:
    """Serve the page and the module; yields the page's URL."""

    async def page(_: web.Request) -> web.Response:
        return web.Response(text=PAGE, content_type="text/html")

    async def module(_: web.Request) -> web.FileResponse:
        return web.FileResponse(MODULE)

    app = web.Application()
    app.router.add_get("/", page)
    app.router.add_get("/slip-sockets.js", module)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    await runner.cleanup()
