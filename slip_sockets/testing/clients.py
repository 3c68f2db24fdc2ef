"""The test clients of the frameworks as one kind of function. No framework is imported; any similar client works."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ..slip.backend import CONTENT_TYPE


class Posted(NamedTuple):
    """The application's response."""

    status: int
    body: bytes


Post = Callable[[Mapping[str, str], bytes], Posted]
"""POSTs headers and a body to the application's route."""


def flask_client(client: Any, path: str) -> Post:
    """`client` is `app.test_client()`."""

    def post(headers: Mapping[str, str], body: bytes) -> Posted:
        response = client.post(path, headers=dict(headers), data=body)
        return Posted(response.status_code, response.data)

    return post


def django_client(client: Any, path: str) -> Post:
    """`client` is a `django.test.Client`, or the test case's `self.client`."""

    def post(headers: Mapping[str, str], body: bytes) -> Posted:
        response = client.post(path, body, content_type=CONTENT_TYPE, headers=dict(headers))
        return Posted(response.status_code, response.content)

    return post


def starlette_client(client: Any, path: str) -> Post:
    """`client` is a `TestClient` of Starlette or FastAPI, or a similar client, such as httpx's."""

    def post(headers: Mapping[str, str], body: bytes) -> Posted:
        response = client.post(path, headers=dict(headers), content=body, follow_redirects=False)
        return Posted(response.status_code, response.content)

    return post
