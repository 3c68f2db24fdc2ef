"""What is kept of channels: rows of the table `Channels`.

| row | channel (partition key) | key (sort key) | attributes |
|---|---|---|---|
| head | channel | `mark:head` | epoch, newest (offset), keptUntil, `r<name>` (offset) of the newest messages, ttl |
| page | channel | `page:<epoch>:<number>` | names (of PAGE messages, one after another), ttl |
| message | name | `message` | messageText, publishedAt, keptCount, keptUntil, ttl |

`publishedAt` and `keptUntil` are Unix milliseconds. A message is written under a name of its own, and then the head
gives the name an offset, in one update: DynamoDB counts, so that any number of publishers keep side by side, and an
offset that was given has its message whatever crashes. When the head has MAX_NAMES names, the next publish writes the
oldest into a page beside its message, and removes them from the head in the update that it makes anyway.

The head is a mark of the channel, so that a publish reads it with the others. It is worth as much as the message that
is kept longest: after that the channel begins anew, in another epoch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from ..apigateway.limits import ROW_LIFETIME_S
from ..gateway.errors import Unavailable
from ..gateway.ports import CLAIM_LIFETIME_S, MAX_PAST_BYTES, Clock
from ..gateway.values import ChannelState, Origin, Past, Publication
from ..protocol.events import MAX_KEPT, KeptMessage
from ..protocol.positions import Position, new_epoch
from .channels import HEAD, PARTITION_KEY, SORT_KEY, channels_table
from .table import TTL, slices

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb.client import DynamoDBClient

    from .table import Item, WriteRequest

PAGE = 16
"""Messages that have their names in one page."""
MAX_NAMES = 2 * PAGE
"""Names in the head, which is below 1 KB with them. Those of publishers side by side come on top."""
MESSAGE = "message"
READ_AT_ONCE = 100
MAX_SEARCHED = 200 * CLAIM_LIFETIME_S
"""Newest messages among which a repeated one is looked for: what a busy channel keeps while ids are remembered."""
ATTEMPTS = 5
"""At the head: the first fails where it has changed in kind since it was read, hardly ever another."""

_HEAD_NAMES = {"#epoch": "epoch", "#newest": "newest", "#until": "keptUntil", "#ttl": "ttl"}
HAS_RUN_OUT = "attribute_not_exists(channel) OR #until <= :now"
IS_WORTH_LESS = "#until > :now AND #until <= :until AND attribute_not_exists(#name)"
IS_WORTH_MORE = "#until > :until AND attribute_not_exists(#name)"
IS_UNUSED = "#epoch = :epoch AND #newest = :none AND #until < :until"


class _Head(msgspec.Struct, frozen=True):
    """A head that was read. `names` are those of the newest messages, by offset."""

    epoch: str
    newest: int
    until_ms: int
    names: Mapping[int, str]

    @property
    def position(self) -> Position:
        return Position(self.epoch, self.newest)

    def offset(self, name: str) -> int | None:
        return next((offset for offset, each in self.names.items() if each == name), None)

    def pages(self) -> list[tuple[int, list[str]]]:
        """Return the pages that its oldest names fill, once it has enough names."""
        if len(self.names) < MAX_NAMES:
            return []
        first, last = min(self.names) - 1, self.newest - PAGE
        found = []
        for start in range(first - first % PAGE, last - PAGE + 1, PAGE):
            names = [self.names.get(offset) for offset in range(start + 1, start + PAGE + 1)]
            if all(names):
                found.append((start // PAGE, [name for name in names if name]))
        return found


class DynamoDbHistory:
    """The port History."""

    def __init__(self, client: DynamoDBClient, table_name: str, clock: Clock) -> None:
        self._client = client
        self._table = channels_table(client, table_name, clock)
        self._clock = clock

    # Keeping

    async def keep(self, publication: Publication, origin: Origin, state: ChannelState) -> Position:
        if publication.keep is None:
            raise ValueError("the publication is not to be kept")
        channel, keep, now_s = publication.channel, publication.keep, self._clock.now()
        head = self._live(state.kept)  # type: ignore[arg-type]
        if origin.is_repeated and head is not None:
            known = await self._position_of(channel, origin.name, head)
            if known is not None:
                return known
        until_ms = math.ceil((now_s + keep.seconds) * 1000)
        message: Item = {
            **self._table.key(origin.name, MESSAGE),
            "messageText": {"S": publication.data},
            "publishedAt": {"N": str(math.floor(now_s * 1000))},
            "keptCount": {"N": str(keep.count)},
            "keptUntil": {"N": str(until_ms)},
            "ttl": self._table.expiry(keep.seconds),
        }
        pages = head.pages() if head is not None else []
        rows = [message, *(self._page(channel, head, number, names) for number, names in pages if head is not None)]
        requests: list[WriteRequest] = [{"PutRequest": {"Item": row}} for row in rows]
        await self._table.write(requests)
        paged = [name for _, names in pages for name in names]
        return await self._count(channel, origin.name, head, until_ms, paged)

    async def _count(
        self, channel: str, name: str, head: _Head | None, until_ms: int, paged: Sequence[str]
    ) -> Position:
        """Give a name the next offset."""
        for _ in range(ATTEMPTS):
            changed = await self._try_to_count(channel, name, head, until_ms, paged)
            if isinstance(changed, Position):
                return changed
            head = self._live(changed)
            if head is not None and (offset := head.offset(name)) is not None:
                return Position(head.epoch, offset)  # the response to the first call of two was lost
        raise Unavailable(f"the position of a message of channel {channel!r:.60} is contended")

    async def _try_to_count(
        self, channel: str, name: str, head: _Head | None, until_ms: int, paged: Sequence[str]
    ) -> Position | Item:
        """Return the head as it is where it is of another kind than was read."""
        if head is None:
            begun = self._head(channel, newest=1, until_ms=until_ms) | {_attribute(name): {"N": "1"}}
            changed = await self._begin(begun)
            return Position(begun["epoch"]["S"], 1) if changed is None else changed
        is_longest = head.until_ms <= until_ms
        names = {"#newest": "newest", "#until": "keptUntil", "#name": _attribute(name)}
        values: Item = {":one": {"N": "1"}, ":until": {"N": str(until_ms)}}
        change = "SET #newest = #newest + :one, #name = #newest + :one"
        if is_longest:
            change += ", #until = :until, #ttl = :ttl"
            names |= TTL
            values |= {":now": self._now_ms(), ":ttl": {"N": str(math.ceil(until_ms / 1000))}}
        if paged:
            change += " REMOVE " + ", ".join(f"#p{number}" for number in range(len(paged)))
            names |= {f"#p{number}": _attribute(each) for number, each in enumerate(paged)}
        condition = IS_WORTH_LESS if is_longest else IS_WORTH_MORE
        response: dict[str, Any] = {}

        async def update() -> None:
            response.update(
                await self._client.update_item(
                    TableName=self._table.name,
                    Key=self._table.key(channel, HEAD),
                    UpdateExpression=change,
                    ConditionExpression=condition,
                    ExpressionAttributeNames=names,
                    ExpressionAttributeValues=values,
                    ReturnValues="ALL_NEW",
                    ReturnValuesOnConditionCheckFailure="ALL_OLD",
                )
            )

        changed = await self._table.failed_condition(update)
        if changed is not None:
            return changed
        counted = response["Attributes"]
        return Position(counted["epoch"]["S"], int(counted["newest"]["N"]))

    async def _position_of(self, channel: str, name: str, head: _Head) -> Position | None:
        """Look for a message that an earlier attempt may have kept."""
        offset = head.offset(name)
        if offset is None:
            names = await self._names(channel, head, max(1, head.newest - MAX_SEARCHED + 1), head.newest)
            offset = next((offset for offset, each in names.items() if each == name), None)
        return None if offset is None else Position(head.epoch, offset)

    # Reading

    async def newest(self, channel: str) -> Position:
        return (await self._begun(channel)).position

    async def past(self, channel: str, since: Position | None, *, limit: int) -> Past:
        head = await self._begun(channel)
        if since is None:
            return await self._newest_messages(channel, head, limit)
        if since.epoch != head.epoch or since.offset > head.newest:
            return Past(head.position, is_whole=False)
        if since.offset == head.newest:
            return Past(head.position)
        return await self._messages_after(channel, head, since.offset, limit)

    async def _messages_after(self, channel: str, head: _Head, offset: int, limit: int) -> Past:
        gone = Past(head.position, is_whole=False)
        if head.newest - offset > MAX_KEPT:
            return gone
        names = await self._names(channel, head, offset + 1, head.newest)
        messages: list[KeptMessage] = []
        size = 0
        for offsets in slices(range(offset + 1, head.newest + 1), READ_AT_ONCE):
            found = await self._read(head, {each: names[each] for each in offsets if each in names})
            for each in offsets:
                if len(messages) == limit:
                    return Past(head.position, messages, more=True)
                if each not in found:
                    return gone
                size += len(found[each].data.encode())
                if size > MAX_PAST_BYTES:
                    return Past(head.position, messages, more=True)
                messages.append(found[each])
        return Past(head.position, messages)

    async def _newest_messages(self, channel: str, head: _Head, limit: int) -> Past:
        """Those that are kept no more are passed over: what is kept for a shorter time may stand between."""
        oldest = max(1, head.newest - MAX_KEPT + 1)
        names = await self._names(channel, head, oldest, head.newest)
        messages: list[KeptMessage] = []
        size = 0
        for offsets in slices(range(head.newest, oldest - 1, -1), min(READ_AT_ONCE, limit + 1)):
            found = await self._read(head, {each: names[each] for each in offsets if each in names})
            for each in offsets:
                if each not in found:
                    continue
                size += len(found[each].data.encode())
                if len(messages) == limit or size > MAX_PAST_BYTES:
                    return Past(head.position, messages[::-1], more=True)
                messages.append(found[each])
        return Past(head.position, messages[::-1])

    async def _names(self, channel: str, head: _Head, first: int, last: int) -> dict[int, str]:
        """Return the names of messages by offset: those that the head has no more are in pages."""
        names = {offset: name for offset, name in head.names.items() if first <= offset <= last}
        if first in names or first > last:
            return names
        oldest_in_head = min(names, default=last + 1)
        pages = await self._table.between(
            channel, _page_key(head.epoch, (first - 1) // PAGE), _page_key(head.epoch, (oldest_in_head - 2) // PAGE)
        )
        for page in pages:
            start = int(page[SORT_KEY]["S"].rpartition(":")[2]) * PAGE
            text = page["names"]["S"]
            length = len(text) // PAGE
            for index in range(PAGE):
                offset = start + index + 1
                if first <= offset <= last:
                    names.setdefault(offset, text[index * length : (index + 1) * length])
        return names

    async def _read(self, head: _Head, names: Mapping[int, str]) -> dict[int, KeptMessage]:
        """Return those messages that are kept, by offset."""
        offsets = {name: offset for offset, name in names.items()}
        keys = [self._table.key(name, MESSAGE) for name in offsets]
        attributes = f"{PARTITION_KEY}, messageText, publishedAt, keptCount, keptUntil"
        now_ms = self._clock.now() * 1000
        found: dict[int, KeptMessage] = {}
        for item in await self._table.get_all(keys, attributes):
            offset = offsets[item[PARTITION_KEY]["S"]]
            if int(item["keptUntil"]["N"]) > now_ms and head.newest - offset < int(item["keptCount"]["N"]):
                position = str(Position(head.epoch, offset))
                found[offset] = KeptMessage(position, item["messageText"]["S"], int(item["publishedAt"]["N"]))
        return found

    # The head

    async def _begun(self, channel: str) -> _Head:
        """Return the head. One of which nothing is kept stays for as long as a connection that has its position."""
        stay_until_ms = math.ceil((self._clock.now() + ROW_LIFETIME_S) * 1000)
        item = await self._table.get(self._table.key(channel, HEAD))
        for _ in range(ATTEMPTS):
            head = self._live(item)
            if head is None:
                begun = self._head(channel, newest=0, until_ms=stay_until_ms)
                item = await self._begin(begun)
                if item is None:
                    return _read_head(begun)
            elif head.newest or head.until_ms >= stay_until_ms:
                return head
            else:
                item = await self._prolong(channel, head, until_ms=stay_until_ms + math.ceil(ROW_LIFETIME_S * 1000))
                if item is None:
                    return head
        raise Unavailable(f"the newest position of channel {channel!r:.60} is contended")

    async def _begin(self, head: Item) -> Item | None:
        """Write the first head of an epoch. Return the one that is there already, None where there was none."""
        return await self._table.failed_condition(
            lambda: self._client.put_item(
                TableName=self._table.name,
                Item=head,
                ConditionExpression=HAS_RUN_OUT,
                ExpressionAttributeNames={"#until": "keptUntil"},
                ExpressionAttributeValues={":now": self._now_ms()},
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        )

    async def _prolong(self, channel: str, head: _Head, *, until_ms: int) -> Item | None:
        """Return the head where it has changed meanwhile, None where it lives longer now."""
        return await self._table.failed_condition(
            lambda: self._client.update_item(
                TableName=self._table.name,
                Key=self._table.key(channel, HEAD),
                UpdateExpression="SET #until = :until, #ttl = :ttl",
                ConditionExpression=IS_UNUSED,
                ExpressionAttributeNames=_HEAD_NAMES,
                ExpressionAttributeValues={
                    ":epoch": {"S": head.epoch},
                    ":none": {"N": "0"},
                    ":until": {"N": str(until_ms)},
                    ":ttl": {"N": str(math.ceil(until_ms / 1000))},
                },
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        )

    def _live(self, item: Item | None) -> _Head | None:
        """Return None where the channel's memory has run out, or never was."""
        if not item:
            return None
        head = _read_head(item)
        return head if head.until_ms > self._clock.now() * 1000 else None

    def _head(self, channel: str, *, newest: int, until_ms: int) -> Item:
        return {
            **self._table.key(channel, HEAD),
            "epoch": {"S": new_epoch()},
            "newest": {"N": str(newest)},
            "keptUntil": {"N": str(until_ms)},
            "ttl": {"N": str(math.ceil(until_ms / 1000))},
        }

    def _page(self, channel: str, head: _Head, number: int, names: Sequence[str]) -> Item:
        """A page is worth as much as the head: none of its messages is kept longer."""
        return {
            **self._table.key(channel, _page_key(head.epoch, number)),
            "names": {"S": "".join(names)},
            "ttl": {"N": str(math.ceil(head.until_ms / 1000))},
        }

    def _now_ms(self) -> Any:
        return {"N": str(math.floor(self._clock.now() * 1000))}


def _read_head(item: Item) -> _Head:
    names = {int(value["N"]): name[1:] for name, value in item.items() if name.startswith("r")}
    return _Head(item["epoch"]["S"], int(item["newest"]["N"]), int(item["keptUntil"]["N"]), names)


def _attribute(name: str) -> str:
    """Return the head's attribute that holds the offset of a name."""
    return f"r{name}"


def _page_key(epoch: str, number: int) -> str:
    return f"page:{epoch}:{number:014d}"
