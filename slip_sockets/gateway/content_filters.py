"""Texts that are another one for each subscriber, as the filters of their subscriptions say."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec

from .delivery import Deliverer, Delivery, Send
from .dialects import BackendProtocol
from .forms import text_of
from .ports import Connections
from .values import Form, Publication

CALLS_AT_ONCE = 50
"""Different texts that are sent side by side."""


class FilteredDeliverer(msgspec.Struct, frozen=True):
    """Delivers to each connection the text that `protocol` makes of a publication for it."""

    connections: Connections
    protocol: BackendProtocol
    deliverer: Deliverer

    async def deliver(
        self, publication: Publication, connection_ids: Sequence[str], form: Form, *, until: float
    ) -> Delivery:
        """As Deliverer's. Subscribers that a filter leaves out are counted as `dropped`. Raises Unavailable."""
        metadata = await self.connections.metadata(connection_ids)
        by_text: dict[str, list[str]] = {}
        for connection_id in connection_ids:
            text = self.protocol.filtered(metadata.get(connection_id), publication)
            if text is not None:
                text = text_of(msgspec.structs.replace(publication, data=text), form)
            if text is not None:
                by_text.setdefault(text, []).append(connection_id)
        total = Delivery(dropped=len(connection_ids) - sum(map(len, by_text.values())))
        texts = list(by_text.items())
        for start in range(0, len(texts), CALLS_AT_ONCE):
            now = texts[start : start + CALLS_AT_ONCE]
            for delivery in await asyncio.gather(
                *(self.deliverer.deliver(Send(text), ids, until=until) for text, ids in now)
            ):
                total.add(delivery)
        return total
