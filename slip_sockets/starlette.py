"""Starlette and FastAPI endpoints that are handed the connection, and an async publisher.

sockets = SlipSockets(control_api=..., jwt_secret=...)
app = FastAPI(lifespan=sockets.lifespan)

@app.post("/slip")
@sockets.handler
async def slip(connection: Connection) -> None: ...
"""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Self

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from .adapter import received
from .async_publisher import AsyncSlipSocketsPublisher
from .connection import Connection


class SlipSockets:
    """One deployment of SLIP Sockets. `publisher` acts at once; the parameters are its own."""

    def __init__(self, *, control_api: str, jwt_secret: str, previous_secrets: Sequence[str] = ()) -> None:
        self.publisher = AsyncSlipSocketsPublisher(
            control_api=control_api, jwt_secret=jwt_secret, previous_secrets=previous_secrets
        )

    @classmethod
    def from_outputs(
        cls, path: str | os.PathLike[str], *, stack: str, jwt_secret: str, previous_secrets: Sequence[str] = ()
    ) -> Self:
        """Find the deployment in `cdk-outputs.json`, at `path`, under `stack`. Raises InvalidSettings."""
        found = AsyncSlipSocketsPublisher.from_outputs(path, stack=stack, jwt_secret=jwt_secret)
        return cls(control_api=found.control_api, jwt_secret=jwt_secret, previous_secrets=previous_secrets)

    @asynccontextmanager
    async def lifespan(self, app: object) -> AsyncIterator[None]:
        """Keep connections to the control API alive while the application runs. Leave it out, and it works all the
        same: each call of the publisher then connects anew."""
        async with self.publisher:
            yield

    def handler(self, function: Callable[..., Any]) -> Callable[..., Awaitable[Response]]:
        """Make an endpoint of a function whose first parameter is the connection.

        Of FastAPI it may have others: path parameters, `Depends`. An `async def` runs in the event loop, a `def` in a
        thread. What the connection recorded is answered; what the function returns is not looked at. A bad token is
        answered with 403, a bad body with 400.
        """
        is_async = inspect.iscoroutinefunction(function)

        async def endpoint(request: Request, **parameters: Any) -> Response:
            connection = received(self.publisher, request.headers, await request.body())
            if isinstance(connection, Connection):
                if is_async:
                    await function(connection, **parameters)
                else:
                    returned = await run_in_threadpool(function, connection, **parameters)
                    if inspect.isawaitable(returned):  # an `async def` in a decorator that is none
                        await returned
            return Response(*connection.answer())

        _dress(endpoint, function)
        return endpoint


def _dress(endpoint: Callable[..., Awaitable[Response]], function: Callable[..., Any]) -> None:
    """Give `endpoint` the name of `function`, and its parameters with the request in place of the connection: FastAPI
    reads them there."""
    functools.update_wrapper(endpoint, function)
    try:
        signature = inspect.signature(function, eval_str=True)
    except NameError:  # a type that is imported for type checkers alone
        signature = inspect.signature(function)
    _, *others = signature.parameters.values()
    request = inspect.Parameter("request", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=Request)
    parameters = [request, *(other.replace(kind=inspect.Parameter.KEYWORD_ONLY) for other in others)]
    endpoint.__signature__ = inspect.Signature(parameters, return_annotation=Response)  # type: ignore[attr-defined]
