"""What each event uses, as `slip_sockets.aws` and `slip_sockets.gateway` handle it.

Processor times were measured once with `functions/websocket.py` over stubs on loopback, without TLS: CPython 3.11.7,
x86-64; 300 events of each kind. Those of texts in order, and of their disconnects, are these times a ratio: one run of
both ways had 1.1 for a text, 0.18 for each further text of a POST, and 1.17 for a disconnect. Sending is at the rate
that docs/fan-out.md assumes: 1,250 a second at 512 MB.
"""

from __future__ import annotations

import math

from ..apigateway.routes import PONG
from ..aws.connections import PAGE_SIZE
from ..aws.history import PAGE as NAMES_IN_PAGE
from ..aws.queue import SHARDS
from ..aws.table import MAX_BATCH_READS
from ..gateway.delivery_rate import MIN_RESERVED_CALLS
from ..gateway.worker import Inbound
from ..protocol.patterns import USER_CHANNEL_PREFIX
from .metering import (
    connection_row_bytes,
    gb_seconds,
    http_requests,
    kept_message_bytes,
    read_units,
    subscription_row_bytes,
    write_units,
)
from .prices import Meter
from .usage import GIB, Usage
from .workload import MINUTES_A_MONTH, Workload

CONNECT_CPU_MS = 3.0
TEXT_CPU_MS = 3.2
ORDERED_TEXT_CPU_MS, FURTHER_TEXT_CPU_MS = 3.5, 0.6
DISCONNECT_CPU_MS = 4.9
ORDERED_DISCONNECT_CPU_MS = 5.7
CONTROL_CPU_MS = 3.0
TIMER_CPU_MS = 3.0
"""Of each of the two invocations of a tick: not measured, as much as of a call of the control API."""
DELIVERY_CPU_MS = 0.23
KEEP_CPU_MS = 0.5
PAGE_CPU_MS = 40.0
"""The coordinator's time for a page of 8,000: 126 pages took 5.1 s (docs/fan-out-benchmarks.md)."""
DATABASE_MS = 5.0
"""A call of DynamoDB or SQS from a function: "single-digit milliseconds", in AWS's words."""
MANAGEMENT_MS = 20.0
"""A call of the management API, as our benchmarks assume it."""
EVENT_BYTES = 800
"""Of a POST to the backend: headers, token, envelope."""
CLIENT_HEADERS_BYTES = 1_000
"""OPEN's metadata: the browser's headers."""
CONTROL_RESPONSE_BYTES = 300
"""A response of the control API."""
INBOUND_BYTES = 110
"""Of a queue message with a text, beside the text's base64."""
FRAME_BYTES = 100
"""Of a frame of slip.v1, beside its text: channel and position."""
TIMER_BYTES = 200
"""Of a queue message of a timer."""
CHUNK_ID_BYTES = 19
"""Of a queue message, for each connection id."""
CHUNK_BYTES = 250
"""Of a queue message, beside its text and its connection ids."""
BATCH_BYTES = 256 * 1024
INDEX_ENTRY_OVERHEAD_BYTES = 100
"""Of storage, for each row and for each index entry.
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html"""
USER_CHANNEL_BYTES = len(USER_CHANNEL_PREFIX) + 16
USER_WRITE_UNITS = 2 * write_units(subscription_row_bytes(USER_CHANNEL_BYTES))
"""Of a connection with a user: the subscription to the user's channel, and its entry in the index."""
QUEUES = 2
"""Of deferred messages, and of what clients send, which is there without `inbound` ordered too. In GRIP, and with
OCCUPANCY_EVENTS, there is one more, of timers."""
IDLE_POLLS = QUEUES * 5 * 3 * MINUTES_A_MONTH
"""Lambda polls a queue with five pollers, for 20 seconds each time, also when it is empty. Billed as requests.
AWS documents five, where a mapping has a maximum concurrency, for standard queues; we could not check it for FIFO.
https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html"""


def connect(w: Workload) -> Usage:
    usage = Usage(w)
    calls = math.ceil((1 + w.channels + w.users) / 25)
    usage.post(EVENT_BYTES + CLIENT_HEADERS_BYTES)
    usage.write(*_rows(w), indexed=_entries(w), calls=calls)
    usage.units[Meter.WRITE_UNITS] += w.users * USER_WRITE_UNITS
    usage.invoke(cpu_ms=CONNECT_CPU_MS, waits_ms=calls * DATABASE_MS, backend_ms=w.backend_ms)
    return usage


def text(w: Workload) -> Usage:
    """A client sends a text."""
    if w.inbound is Inbound.ORDERED:
        return _ordered_text(w)
    usage = Usage(w)
    usage.receive(w.text_bytes)
    usage.read(connection_row_bytes(w.metadata_bytes), consistent=True)
    usage.post(EVENT_BYTES + w.metadata_bytes + w.text_bytes)
    if w.replied:
        usage.send(w.replied, w.text_bytes)
    waits_ms = DATABASE_MS + w.replied * MANAGEMENT_MS
    usage.invoke(cpu_ms=TEXT_CPU_MS, waits_ms=waits_ms, backend_ms=w.backend_ms)
    return usage


def _ordered_text(w: Workload) -> Usage:
    """API Gateway sends it to the queue. A function has a batch, here of one connection's texts, for one POST."""
    usage, count = Usage(w), w.texts_a_post
    message = INBOUND_BYTES + math.ceil(w.text_bytes / 3) * 4
    usage.receive(w.text_bytes, times=count)
    usage.queue(message, times=count)
    usage.queue(math.ceil(message * count), 1)  # received and deleted
    usage.read(connection_row_bytes(w.metadata_bytes), consistent=True)
    usage.post(EVENT_BYTES + w.metadata_bytes + w.text_bytes * count)
    if w.replied:
        usage.send(w.replied * count, w.text_bytes)
    cpu_ms = ORDERED_TEXT_CPU_MS + FURTHER_TEXT_CPU_MS * (count - 1)
    waits_ms = DATABASE_MS + w.replied * count * MANAGEMENT_MS
    usage.invoke(cpu_ms=cpu_ms, waits_ms=waits_ms, backend_ms=w.backend_ms)
    return usage.shared_by(count)


def ping(w: Workload) -> Usage:
    """API Gateway answers by itself."""
    usage = Usage(w)
    usage.receive(len(PONG))
    usage.respond(len(PONG))
    return usage


def timer(w: Workload) -> Usage:
    """A timer ticks, once for all sockets that have one: it is put into the queue of timers, goes from there to that of
    texts, and a text is sent unless the client is not idle, which is a call."""
    usage = Usage(w)
    usage.queue(TIMER_BYTES, TIMER_BYTES, 1)  # sent, received and deleted
    usage.queue(TIMER_BYTES, TIMER_BYTES, 1)
    usage.read(connection_row_bytes(w.metadata_bytes), consistent=True)
    usage.aws_calls += 1  # whether the client is idle
    usage.send(1, w.text_bytes)
    usage.invoke(cpu_ms=TIMER_CPU_MS, waits_ms=DATABASE_MS)
    usage.invoke(cpu_ms=TIMER_CPU_MS, waits_ms=2 * DATABASE_MS + 2 * MANAGEMENT_MS)
    return usage


def disconnect(w: Workload) -> Usage:
    usage = Usage(w)
    calls = math.ceil((1 + w.channels + w.users) / 25)
    cpu_ms, waits_ms = DISCONNECT_CPU_MS, (1 + calls) * DATABASE_MS
    if w.inbound is Inbound.ORDERED:
        usage.queue(INBOUND_BYTES, INBOUND_BYTES, 1)  # sent, received and deleted
        usage.read(connection_row_bytes(w.metadata_bytes), consistent=True)  # the other rows only when they are deleted
        cpu_ms, waits_ms = ORDERED_DISCONNECT_CPU_MS, waits_ms + DATABASE_MS
    usage.read(*_rows(w), consistent=True)
    usage.write(*_rows(w), indexed=_entries(w), calls=calls)
    usage.units[Meter.WRITE_UNITS] += w.users * USER_WRITE_UNITS
    usage.post(EVENT_BYTES + w.metadata_bytes)
    usage.invoke(cpu_ms=cpu_ms, waits_ms=waits_ms, backend_ms=w.backend_ms)
    return usage


def publish(w: Workload) -> Usage:
    """Claims, marks and checkpoints are rows of `Channels`, which has no index."""
    usage = Usage(w)
    row = subscription_row_bytes(w.channel_bytes)
    cpu_ms, waits_ms = 0.0, 2 * DATABASE_MS
    usage.read(consistent=True)  # the channel's state
    usage.read(*[row] * min(w.subscribers, w.inline_limit + 1), consistent=False)
    for _ in range(w.pattern_segments):  # side by side with the channel's own subscribers
        usage.read(consistent=False)
    if not w.in_replies:
        usage.units[Meter.HTTP_REQUESTS] += http_requests(w.text_bytes)
        usage.units[Meter.DATA_OUT] += CONTROL_RESPONSE_BYTES / GIB
        usage.write(1, 1, calls=2)  # the message's id: claimed, then confirmed
        cpu_ms, waits_ms = CONTROL_CPU_MS, waits_ms + 2 * DATABASE_MS
    if w.subscribers <= w.inline_limit:
        cpu_ms += w.subscribers * DELIVERY_CPU_MS
        waits_ms += MANAGEMENT_MS if w.subscribers else 0
        usage.send(w.subscribers, w.text_bytes)
    else:
        waits_ms += 3 * DATABASE_MS
        usage.write(1)  # the channel's mark, so that later publishes go through the queue too
        usage.queue(CHUNK_BYTES + w.text_bytes)
        usage.read(*[row] * (w.subscribers - w.inline_limit - 1), consistent=False)  # counted for the report
        _fan_out(usage, w, row)
    if w.in_replies:
        usage.prolong(cpu_ms=cpu_ms, waits_ms=waits_ms)
    else:
        usage.invoke(cpu_ms=cpu_ms, waits_ms=waits_ms)
    return usage


def keep(w: Workload) -> Usage:
    """What a publish uses more that is kept: its message, the channel's head, and a part of a page of names."""
    usage = Usage(w)
    usage.write(kept_message_bytes(w.text_bytes), calls=1)
    usage.write(1, calls=1)
    usage.units[Meter.WRITE_UNITS] += 1 / NAMES_IN_PAGE
    usage.prolong(cpu_ms=KEEP_CPU_MS, waits_ms=2 * DATABASE_MS)
    return usage


def recovery(w: Workload) -> Usage:
    """What a connect uses more that recovers a channel, the late look ten seconds afterwards included.

    A queue cannot put a message off by itself: a function receives it, and once more when it is due.
    """
    usage = Usage(w)
    row = kept_message_bytes(w.text_bytes)
    usage.read(consistent=True)
    if w.missed:
        usage.units[Meter.READ_UNITS] += w.missed * read_units(row, consistent=True)
        usage.aws_calls += math.ceil(w.missed / MAX_BATCH_READS)
        usage.send(w.missed, w.text_bytes + FRAME_BYTES)
    usage.send(1, FRAME_BYTES)
    usage.queue(CHUNK_BYTES)  # the rest of the reply, which waits for the open socket
    usage.queue(CHUNK_BYTES, 1)
    usage.invoke(cpu_ms=CONTROL_CPU_MS, waits_ms=DATABASE_MS + (w.missed + 1) * MANAGEMENT_MS)
    usage.queue(CHUNK_BYTES, CHUNK_BYTES, 1, CHUNK_BYTES, 1)  # sent, received, put off, received, deleted
    usage.read(consistent=True)
    usage.invoke(cpu_ms=CONTROL_CPU_MS, waits_ms=DATABASE_MS, times=2)
    return usage


def open_sockets(w: Workload) -> Usage:
    """A month of being connected, and of the queues' pollers, the secret and functions kept warm."""
    usage = Usage(w)
    usage.units[Meter.CONNECTION_MINUTES] += w.connections * MINUTES_A_MONTH
    rows, entries = _rows(w), _entries(w)
    stored = sum(rows) + sum(entries) + (len(rows) + len(entries)) * INDEX_ENTRY_OVERHEAD_BYTES
    of_user = 2 * (subscription_row_bytes(USER_CHANNEL_BYTES) + INDEX_ENTRY_OVERHEAD_BYTES)
    usage.units[Meter.TABLE_STORAGE] += w.connections * (stored + w.users * of_user) / GIB
    usage.units[Meter.SQS_REQUESTS] += IDLE_POLLS * ((QUEUES + 1) / QUEUES if w.timer_s or w.occupancy_events else 1)
    usage.units[Meter.SECRETS] += 1
    if w.provisioned:
        warm = Meter.PROVISIONED_ARM64 if w.architecture == "arm64" else Meter.PROVISIONED_X86
        usage.units[warm] += w.provisioned * gb_seconds(MINUTES_A_MONTH * 60_000, w.memory_mb)
    return usage


def _fan_out(usage: Usage, w: Workload, row: int) -> None:
    """One message is split into chunks, and a function sends each chunk."""
    pages = [min(PAGE_SIZE, w.subscribers - start) for start in range(0, w.subscribers, PAGE_SIZE)]
    usage.queue(CHUNK_BYTES + w.text_bytes, 1)  # received and deleted
    usage.write(1)
    for index, page in enumerate(pages):
        usage.read(*[row] * page, consistent=False)
        shards = min(SHARDS, page)
        chunk = CHUNK_BYTES + w.text_bytes + math.ceil(page / shards) * CHUNK_ID_BYTES
        chunks_a_call = max(1, min(shards, BATCH_BYTES // chunk))
        usage.queue(*(chunk * min(chunks_a_call, shards - start) for start in range(0, shards, chunks_a_call)))
        usage.queue(*[chunk] * shards, *[1] * shards)  # received and deleted
        if index + 1 < len(pages):
            usage.write(w.text_bytes + CHUNK_BYTES)  # its checkpoint
        for _ in range(shards):
            usage.read(consistent=True)
            usage.write(1)
        reserves = page / shards >= MIN_RESERVED_CALLS  # its calls, so that all functions keep to FAN_OUT_RATE
        if reserves:
            usage.write(*[1] * shards, calls=shards)
        sending_ms = CONTROL_CPU_MS + page / shards * DELIVERY_CPU_MS
        waits_ms = (3 if reserves else 2) * DATABASE_MS + MANAGEMENT_MS
        usage.invoke(cpu_ms=sending_ms, waits_ms=waits_ms, times=shards)
    usage.send(w.subscribers, w.text_bytes)
    waits_ms = 3 * DATABASE_MS * len(pages)
    usage.invoke(cpu_ms=CONTROL_CPU_MS + PAGE_CPU_MS * len(pages), waits_ms=waits_ms)


def _rows(w: Workload) -> list[int]:
    return [connection_row_bytes(w.metadata_bytes), *[subscription_row_bytes(w.channel_bytes)] * w.channels]


def _entries(w: Workload) -> list[int]:
    """The index has all rows of `Connections`, without the metadata."""
    return [subscription_row_bytes(28), *[subscription_row_bytes(w.channel_bytes)] * w.channels]
