"""What clients of slip.v1 send: texts for the backend, and frames that the gateway answers itself."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ..protocol.errors import InvalidEvents
from ..protocol.events import History, check
from ..protocol.frames import (
    ErrorFrame,
    FrameError,
    InvalidFrame,
    PingFrame,
    PongFrame,
    RecoverFrame,
    ServerFrame,
    TextFrame,
    decode_client_frame,
    encode_frame,
)
from ..protocol.patterns import USER_CHANNEL_PREFIX
from .deadlines import RESERVE_S
from .deferred import ReceivedText
from .delivery import Deliverer, Send
from .effects import Recover
from .errors import Unavailable
from .numbered import NumberedText, read_number
from .ports import Subscriptions
from .recovery import Recoverer
from .values import Form

Asked = RecoverFrame | PingFrame | ErrorFrame
"""What the gateway answers: a client's frame, or the error that one deserves."""


def unframed(text: str, form: Form) -> str | Asked | None:
    """Return the text for the backend, or what else a client of that form sent; None where it is nothing."""
    if form is Form.RAW:
        return text
    try:
        frame = decode_client_frame(text)
    except InvalidFrame:
        return ErrorFrame(FrameError.INVALID)
    match frame:
        case TextFrame(data):
            return data
        case RecoverFrame(channel):
            try:
                check(History(channel))
            except InvalidEvents:
                return ErrorFrame(FrameError.INVALID)
    return frame


class Received(msgspec.Struct, frozen=True):
    """What came from a client: its `texts` for the backend, `numbered` as they are read, and what it `asked`."""

    texts: list[ReceivedText]
    numbered: list[NumberedText]
    asked: list[Asked]


def read_texts(texts: Sequence[ReceivedText], form: Form) -> Received:
    received = Received([], [], [])
    for text in texts:
        content = unframed(text.data.decode(errors="replace"), form)
        if isinstance(content, str):
            received.texts.append(text)
            received.numbered.append(read_number(content, text.id))
        elif content is not None:
            received.asked.append(content)
    return received


class FrameAnswers(msgspec.Struct, frozen=True):
    """Answers a client's frames."""

    subscriptions: Subscriptions
    recoverer: Recoverer
    deliverer: Deliverer

    async def answer(self, connection_id: str, asked: Asked, *, deadline: float) -> None:
        """Raises Unavailable."""
        match asked:
            case RecoverFrame(channel, since):
                if await self.subscriptions.is_subscribed(connection_id, channel):
                    # ACCEPT subscribes a connection to its user's channel, and does not look for what the index hides.
                    is_of_user = channel.startswith(USER_CHANNEL_PREFIX)
                    recover = self.recoverer.on_subscribed if is_of_user else self.recoverer.recover
                    await recover(Recover(connection_id, channel, since), Form.SLIP_V1, deadline=deadline)
                else:
                    await self._send(connection_id, ErrorFrame(FrameError.NOT_SUBSCRIBED, channel), deadline)
            case PingFrame():  # only where no edge has answered it
                await self._send(connection_id, PongFrame(), deadline)
            case ErrorFrame():
                await self._send(connection_id, asked, deadline)

    async def _send(self, connection_id: str, frame: ServerFrame, deadline: float) -> None:
        what = Send(encode_frame(frame))
        delivery = await self.deliverer.deliver(what, [connection_id], until=deadline - RESERVE_S)
        if delivery.failed or delivery.unsent:
            raise Unavailable(delivery.failed.get(connection_id, "no time was left to send a frame"))
