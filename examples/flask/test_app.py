from app import app, sockets

from slip_sockets import PublishText
from slip_sockets.testing import Socket, flask_client, record


def test_a_text_is_published_to_the_room() -> None:
    socket = Socket(flask_client(app.test_client(), "/slip"), jwt_secret="change-me")
    socket.open(query={"room": ["tea"]})
    assert socket.channels == {"room:tea"}
    assert socket.text("milk?") == [PublishText("room:tea", "milk?")]
    assert socket.close() == [PublishText("room:tea", "somebody left")]


def test_an_announcement_is_published() -> None:
    with app.app_context(), record(sockets.publisher) as sent:
        assert app.test_client().post("/announce/tea", data="closing soon").status_code == 200
    assert sent == [PublishText("room:tea", "closing soon")]
