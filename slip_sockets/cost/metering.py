"""How AWS meters. Sizes are bytes, results are billed units."""

from __future__ import annotations

import math

KIB = 1024
MESSAGE_BYTES = 32 * KIB
"""https://aws.amazon.com/api-gateway/pricing/: messages are metered in increments of 32 KB, so 33 KB are two."""
HTTP_REQUEST_BYTES = 512 * KIB
"""https://aws.amazon.com/api-gateway/pricing/: HTTP API calls are metered in increments of 512 KB."""
WRITE_UNIT_BYTES = KIB
READ_UNIT_BYTES = 4 * KIB
"""https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/read-write-operations.html"""
SQS_REQUEST_BYTES = 64 * KIB
"""https://aws.amazon.com/sqs/pricing/: each 64 KB of payload are a request; the messages of a call are added up."""
FULL_CORE_MB = 1_769
"""https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html: with this a function has one vCPU."""

_CONNECTION_ID_BYTES = 16
_KEY_NAMES = len("connectionIdchannel")
_TTL_BYTES = len("ttl") + 6  # a number takes a byte for each two digits, and one more
_CONNECTED_AT_BYTES = 8


def websocket_messages(size: int) -> int:
    """An empty text is one message too."""
    return max(1, math.ceil(size / MESSAGE_BYTES))


def http_requests(size: int) -> int:
    return max(1, math.ceil(size / HTTP_REQUEST_BYTES))


def write_units(item_bytes: int) -> int:
    """Units of writing one item, or of deleting one of that size. A batch costs as much as its items one by one."""
    return max(1, math.ceil(item_bytes / WRITE_UNIT_BYTES))


def read_units(*item_bytes: int, consistent: bool) -> float:
    """Units of one call. A Query adds up the sizes before it rounds; one that finds nothing costs the minimum."""
    units = max(1, math.ceil(sum(item_bytes) / READ_UNIT_BYTES))
    return units if consistent else units / 2


def sqs_requests(call_bytes: int) -> int:
    return max(1, math.ceil(call_bytes / SQS_REQUEST_BYTES))


def gb_seconds(duration_ms: float, memory_mb: int) -> float:
    """Lambda rounds each invocation up to the millisecond. https://aws.amazon.com/lambda/pricing/"""
    return math.ceil(duration_ms) / 1000 * memory_mb / KIB


def stretched(cpu_ms: float, memory_mb: int) -> float:
    """Return how long one thread takes for processor time, with the part of a core that comes with the memory."""
    return cpu_ms / min(1.0, memory_mb / FULL_CORE_MB)


def connection_row_bytes(metadata_bytes: int) -> int:
    """DynamoDB counts the names of attributes too; `slip_sockets.aws.connections` lists them."""
    names = len("connectionIdchannelmetadataconnectedAt")
    own_channel = len("$connection:") + _CONNECTION_ID_BYTES
    return names + _CONNECTION_ID_BYTES + own_channel + metadata_bytes + _CONNECTED_AT_BYTES + _TTL_BYTES


def kept_message_bytes(text_bytes: int) -> int:
    """The row of a kept message; `slip_sockets.aws.history` lists its attributes."""
    names = len("channelkeymessageTextpublishedAtkeptCountkeptUntil")
    return names + 16 + len("message") + text_bytes + 2 * 8 + 3 + _TTL_BYTES


def member_row_bytes(channel_bytes: int) -> int:
    """The row of a member's connection in the table `Channels`, with a name of 16 bytes and an info of 32."""
    names = len("channelkeyinfojoinedAtform")
    key = len("presence:member:") + 16 + 1 + _CONNECTION_ID_BYTES
    return names + channel_bytes + key + 32 + 8 + len("slip.v1") + _TTL_BYTES


def subscription_row_bytes(channel_bytes: int) -> int:
    """A row in the table, or in the index, which has the same attributes."""
    return _KEY_NAMES + _CONNECTION_ID_BYTES + channel_bytes + _TTL_BYTES
