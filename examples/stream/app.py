"""Publishes an answer while it is being written, and renders a page that goes on wherever it was left.

From the environment: CONTROL_API, WEBSOCKET_URL and JWT_SECRET, by default those of the development server.
"""

from __future__ import annotations

import asyncio
import html
import json
import os
import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from string import Template
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from slip_sockets import Connection, Keep
from slip_sockets.browser import MODULE
from slip_sockets.starlette import SlipSockets

from .coalescing import coalesced

KEEP = Keep(count=500, seconds=600)
PAGE = Template(Path(__file__).with_name("page.html").read_text())


@dataclass(frozen=True)
class Answer:
    """A row of your database: what has been written, and the position of its last piece. They change together."""

    text: str
    position: str
    is_complete: bool = False


async def model(question: str) -> AsyncIterator[str]:
    """Write as a language model does. Put yours in its place."""
    for sentence in (
        f"You asked: {question}",
        *["A kept message has a position, and who comes back has the last one."] * 30,
    ):
        for word in sentence.split():
            await asyncio.sleep(0.02)
            yield f"{word} "


def create_app(model: Callable[[str], AsyncIterator[str]] = model) -> Starlette:
    sockets = SlipSockets(
        control_api=os.environ.get("CONTROL_API", "http://127.0.0.1:8787/control"),
        jwt_secret=os.environ.get("JWT_SECRET", "change-me"),
        subprotocol="slip.v1",
    )
    websocket_url = os.environ.get("WEBSOCKET_URL", "ws://127.0.0.1:8787/")
    answers: dict[str, Answer] = {}

    async def ask(request: Request) -> Response:
        """Begin an answer, and lead to its page."""
        (question,) = parse_qs((await request.body()).decode()).get("question", [""])
        answer_id = secrets.token_hex(8)
        answers[answer_id] = Answer("", (await sockets.publisher.history(channel(answer_id), limit=1)).position)
        return RedirectResponse(f"/answers/{answer_id}", 303, background=BackgroundTask(write, answer_id, question))

    async def write(answer_id: str, question: str) -> None:
        async for text in coalesced(model(question)):
            await publish(answer_id, text)
        await publish(answer_id, "", is_complete=True)

    async def publish(answer_id: str, text: str, *, is_complete: bool = False) -> None:
        """Publish what comes next, and store it with its position."""
        report = await sockets.publisher.publish_text(
            channel(answer_id),
            json.dumps({"text": text, "isComplete": is_complete}),
            message_id=secrets.token_hex(8),  # so that it can be sent again after an error
            keep=KEEP,
        )
        assert report.position is not None
        answers[answer_id] = Answer(answers[answer_id].text + text, report.position, is_complete)

    async def home(_: Request) -> Response:
        return render("", Answer("", "", is_complete=True))

    async def page(request: Request) -> Response:
        answer_id = request.path_params["answer_id"]
        if answer_id not in answers:
            raise HTTPException(404)
        return render(answer_id, answers[answer_id])

    def render(answer_id: str, answer: Answer) -> Response:
        values = {
            "url": f"{websocket_url}?answer={answer_id}",
            "channel": channel(answer_id),
            "position": answer.position,
            "state": "complete" if answer.is_complete else "writing",
            "text": answer.text,
        }
        return HTMLResponse(PAGE.substitute({name: html.escape(value) for name, value in values.items()}))

    @sockets.handler
    async def slip(connection: Connection) -> None:
        if connection.is_opening:
            (answer_id,) = connection.metadata["query"].get("answer", [""])
            if answer_id in answers:
                connection.accept()
                connection.subscribe(channel(answer_id), recover=True)

    return Starlette(
        routes=[
            Route("/", home),
            Route("/ask", ask, methods=["POST"]),
            Route("/answers/{answer_id}", page),
            Route("/slip-sockets.js", lambda _: FileResponse(MODULE, media_type="text/javascript")),
            Route("/slip", slip, methods=["POST"]),
        ],
        lifespan=sockets.lifespan,
    )


def channel(answer_id: str) -> str:
    return f"answer:{answer_id}"
