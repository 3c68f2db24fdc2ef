from django.conf import settings
from django.test import SimpleTestCase

from slip_sockets import PublishText
from slip_sockets.django import publisher
from slip_sockets.testing import Socket, django_client, record


class RoomsTest(SimpleTestCase):
    def test_a_text_is_published_to_the_room(self) -> None:
        socket = Socket(django_client(self.client, "/slip"), jwt_secret=settings.SLIP_SOCKETS_JWT_SECRET)
        socket.open(query={"room": ["tea"]})
        assert socket.channels == {"room:tea"}
        assert socket.text("milk?") == [PublishText("room:tea", "milk?")]
        assert socket.close() == [PublishText("room:tea", "somebody left")]

    def test_an_announcement_is_published(self) -> None:
        with record(publisher()) as sent:
            assert self.client.post("/announce/tea", "closing soon", content_type="text/plain").status_code == 200
        assert sent == [PublishText("room:tea", "closing soon")]
