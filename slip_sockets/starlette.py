"""Starlette and FastAPI endpoints that are handed the connection, and an async publisher.

sockets = SlipSockets(jwt_secret=...)     # and control_api=... to publish
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
from contextlib import asynccontextmanager, nullcontext
from typing import Any, Self

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from .client.adapter import receive
from .client.async_publisher import AsyncSlipSocketsPublisher
from .client.connection import Connection, secrets_problems, subprotocol_problem
from .client.outputs import read_control_api
from .protocol.errors import InvalidSettings


class SlipSockets:
    """One deployment of SLIP Sockets. Handlers need only `jwt_secret`; `publisher` also needs `control_api`.

    `control_api` is the control API's URL, `jwt_secret` the deployment's `JWT_SECRET`. Handlers also accept
    `previous_secrets`, while a secret is being changed. `subprotocol` is the one that `connection.accept()` chooses
    where the client offers it: `slip.v1`, for instance. Raises InvalidSettings.
    """

    def __init__(
        self,
        *,
        jwt_secret: str,
        control_api: str | None = None,
        previous_secrets: Sequence[str] = (),
        subprotocol: str | None = None,
    ) -> None:
        problems = secrets_problems(jwt_secret, previous_secrets)
        if subprotocol is not None and (problem := subprotocol_problem(subprotocol)):
            problems.append(f"subprotocol {problem}")
        if problems:
            raise InvalidSettings(problems)
        self._secrets = (jwt_secret, *previous_secrets)
        self._subprotocol = subprotocol
        self._publisher = (
            None
            if control_api is None
            else AsyncSlipSocketsPublisher(
                control_api=control_api, jwt_secret=jwt_secret, previous_secrets=previous_secrets
            )
        )

    @classmethod
    def from_outputs(
        cls,
        path: str | os.PathLike[str],
        *,
        stack: str,
        jwt_secret: str,
        previous_secrets: Sequence[str] = (),
        subprotocol: str | None = None,
    ) -> Self:
        """Find the control API of the deployment `stack` in `cdk-outputs.json`, at `path`. Raises InvalidSettings."""
        control_api = read_control_api(path, stack)
        return cls(
            control_api=control_api,
            jwt_secret=jwt_secret,
            previous_secrets=previous_secrets,
            subprotocol=subprotocol,
        )

    @property
    def publisher(self) -> AsyncSlipSocketsPublisher:
        """The publisher, which acts at once. Raises InvalidSettings without a control API."""
        if self._publisher is None:
            what = "Give SlipSockets the control API's URL, or make it with SlipSockets.from_outputs"
            raise InvalidSettings([f"a publisher needs control_api. {what}"])
        return self._publisher

    @asynccontextmanager
    async def lifespan(self, app: object) -> AsyncIterator[None]:
        """Keep the publisher's connections alive while the application runs.

        Without it the publisher works too, and opens a connection for each call.
        """
        async with self._publisher or nullcontext():
            yield

    def handler(self, function: Callable[..., Any]) -> Callable[..., Awaitable[Response]]:
        """Make an endpoint of a function that takes the connection as its first parameter.

        With FastAPI it may take others: path parameters, `Depends`. An `async def` runs in the event loop, a `def` in a
        thread. The endpoint responds with what the connection recorded; it ignores what the function returns. It
        responds to a bad token with 403, to a bad body with 400.
        """
        is_async = inspect.iscoroutinefunction(function)

        async def endpoint(request: Request, **parameters: Any) -> Response:
            body = await request.body()
            connection = receive(request.headers, body, secrets=self._secrets, subprotocol=self._subprotocol)
            if isinstance(connection, Connection):
                if is_async:
                    await function(connection, **parameters)
                else:
                    returned = await run_in_threadpool(function, connection, **parameters)
                    if inspect.isawaitable(returned):  # an `async def` inside a decorator that is a `def`
                        await returned
            return Response(*connection.response())

        _copy_signature(endpoint, function)
        return endpoint


def _copy_signature(endpoint: Callable[..., Awaitable[Response]], function: Callable[..., Any]) -> None:
    """Give `endpoint` the name of `function`, and its parameters with the request in place of the connection.

    FastAPI reads parameters there.
    """
    functools.update_wrapper(endpoint, function)
    try:
        signature = inspect.signature(function, eval_str=True)
    except NameError:  # a type that is imported for type checkers only
        signature = inspect.signature(function)
    _, *others = signature.parameters.values()
    request = inspect.Parameter("request", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=Request)
    parameters = [request, *(other.replace(kind=inspect.Parameter.KEYWORD_ONLY) for other in others)]
    endpoint.__signature__ = inspect.Signature(parameters, return_annotation=Response)  # type: ignore[attr-defined]
