from collections.abc import Callable

from app import app, sockets
from fastapi.testclient import TestClient

from slip_sockets import PublishText
from slip_sockets.testing import Post, Socket, record, starlette_client

client = TestClient(app)


def test_a_text_is_published_to_the_room(slip_socket: Callable[[Post], Socket]) -> None:
    socket = slip_socket(starlette_client(client, "/slip"))
    socket.open(query={"room": ["tea"]})
    assert socket.channels == {"room:tea"}
    assert socket.text("milk?") == [PublishText("room:tea", "milk?")]
    assert socket.close() == [PublishText("room:tea", "somebody left")]


def test_an_announcement_is_published() -> None:
    with record(sockets.publisher) as sent:
        assert client.post("/announce/tea", content="closing soon").status_code == 200
    assert sent == [PublishText("room:tea", "closing soon")]
