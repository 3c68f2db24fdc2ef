"""What one event makes AWS do: in this gateway, and in the original one."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from typing import Protocol

from ..gateway.ports import PAGE_SIZE, SHARDS
from .metering import (
    connection_row_bytes,
    gb_seconds,
    http_requests,
    read_units,
    sqs_requests,
    stretched,
    subscription_row_bytes,
    websocket_messages,
    write_units,
)
from .prices import Meter
from .workload import MINUTES_A_MONTH, Workload

GIB = 1024**3
DATABASE_MS = 5.0
"""A call of DynamoDB or SQS from a function: "single-digit milliseconds", as AWS puts it."""
MANAGEMENT_MS = 20.0
"""A call of the management API or of Lambda, as our benchmarks take it to be."""
EVENT_LOG_BYTES = 400
"""Our line for an event, with 26 bytes that CloudWatch adds."""
LAMBDA_LOG_BYTES = 350
"""Lambda's own three lines of text, START, END and REPORT, with as much for each. In our functions they are turned off.
https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-logformat.html"""
EVENT_BYTES = 800
"""Of a POST to the backend: headers, token, envelope."""
CLIENT_HEADERS_BYTES = 1_000
"""What OPEN carries as metadata: the browser's headers."""
ANSWER_BYTES = 300
"""What the control API answers."""
CHUNK_ID_BYTES = 19
CHUNK_BYTES = 250
"""A queue message: so much for each connection id, and beside them and the text."""
BATCH_BYTES = 256 * 1024
INDEX_ENTRY_OVERHEAD_BYTES = 100
"""Of storage, for each row and for each index entry.
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html"""
IDLE_POLLS = 5 * 3 * MINUTES_A_MONTH
"""Lambda waits for the queue with five pollers, for 20 seconds each time, also when nothing comes. Billed as requests.
Said of standard queues; we could not check it for FIFO.
https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html"""


class Tally:
    """Counts units of each meter, calls to AWS's APIs, and the milliseconds that Lambda bills.

    Each invocation logs `log_bytes`.
    """

    def __init__(self, workload: Workload, log_bytes: int) -> None:
        self.units: defaultdict[Meter, float] = defaultdict(float)
        self.aws_calls = 0
        self.billed_ms = 0
        self.waiting_for_backend_ms = 0.0
        self._workload = workload
        self._log_bytes = log_bytes
        arm = workload.architecture == "arm64"
        self._time = Meter.LAMBDA_ARM64 if arm else Meter.LAMBDA_X86

    def invoke(self, *, cpu_ms: float, waits_ms: float, backend_ms: float = 0, times: int = 1) -> None:
        memory_mb = self._workload.memory_mb
        duration_ms = stretched(cpu_ms, memory_mb) + waits_ms + backend_ms
        self.units[Meter.LAMBDA_REQUESTS] += times
        self.units[self._time] += times * gb_seconds(duration_ms, memory_mb)
        self.units[Meter.LOGS] += times * self._log_bytes / GIB
        self.billed_ms += times * math.ceil(duration_ms)
        self.waiting_for_backend_ms += times * backend_ms

    def go_on(self, *, cpu_ms: float, waits_ms: float) -> None:
        """In an invocation that is counted elsewhere."""
        memory_mb = self._workload.memory_mb
        duration_ms = stretched(cpu_ms, memory_mb) + waits_ms
        self.units[self._time] += gb_seconds(duration_ms, memory_mb)
        self.billed_ms += math.ceil(duration_ms)

    def write(self, *rows: int, indexed: Iterable[int] = (), calls: int = 1) -> None:
        """Rows of so many bytes; an index entry is a row of its own."""
        self.units[Meter.WRITE_UNITS] += sum(map(write_units, rows)) + sum(map(write_units, indexed))
        self.aws_calls += calls

    def read(self, *rows: int, consistent: bool, calls: int = 1) -> None:
        self.units[Meter.READ_UNITS] += calls * read_units(*rows, consistent=consistent)
        self.aws_calls += calls

    def send(self, texts: float, size: int) -> None:
        """Texts to clients by the management API."""
        self.units[Meter.WEBSOCKET_MESSAGES] += texts * websocket_messages(size)
        self.units[Meter.DATA_OUT] += texts * size / GIB
        self.aws_calls += math.ceil(texts)

    def receive(self, size: int) -> None:
        self.units[Meter.WEBSOCKET_MESSAGES] += websocket_messages(size)

    def post(self, size: int) -> None:
        """To the backend, which is taken to be outside of the region."""
        self.units[Meter.DATA_OUT] += size / GIB

    def queue(self, *call_bytes: int) -> None:
        self.units[Meter.SQS_REQUESTS] += sum(map(sqs_requests, call_bytes))
        self.aws_calls += len(call_bytes)


class Pattern(Protocol):
    """What a gateway does; each method counts one event."""

    def connect(self, w: Workload) -> Tally: ...
    def frame(self, w: Workload) -> Tally: ...
    def disconnect(self, w: Workload) -> Tally: ...
    def publish(self, w: Workload) -> Tally: ...
    def month(self, w: Workload) -> Tally: ...
    def reached(self, w: Workload) -> int: ...


class Ours:
    """This gateway, as `slip_sockets.aws` and `slip_sockets.gateway` do it.

    Processor times are measured once with `functions/websocket.py` over stubs on loopback, without TLS: CPython 3.11.7,
    x86-64; 300 events of each kind. Sending is at the rate that docs/fan-out.md reckons with: 1,250 a second at 512 MB.
    """

    CONNECT_CPU_MS = 3.0
    FRAME_CPU_MS = 3.2
    DISCONNECT_CPU_MS = 4.9
    CONTROL_CPU_MS = 3.0
    DELIVERY_CPU_MS = 0.23
    PAGE_CPU_MS = 40.0
    """The coordinator's time for a page of 8,000: 126 pages took 5.1 s (docs/fan-out-benchmarks.md)."""

    def connect(self, w: Workload) -> Tally:
        tally = Tally(w, EVENT_LOG_BYTES)
        calls = math.ceil((1 + w.channels) / 25)
        tally.post(EVENT_BYTES + CLIENT_HEADERS_BYTES)
        tally.write(*_rows(w), indexed=_entries(w), calls=calls)
        tally.invoke(cpu_ms=self.CONNECT_CPU_MS, waits_ms=calls * DATABASE_MS, backend_ms=w.backend_ms)
        return tally

    def frame(self, w: Workload) -> Tally:
        tally = Tally(w, EVENT_LOG_BYTES)
        tally.receive(w.text_bytes)
        tally.read(connection_row_bytes(w.metadata_bytes), consistent=True)
        tally.post(EVENT_BYTES + w.metadata_bytes + w.text_bytes)
        if w.answered:
            tally.send(w.answered, w.text_bytes)
        waits_ms = DATABASE_MS + w.answered * MANAGEMENT_MS
        tally.invoke(cpu_ms=self.FRAME_CPU_MS, waits_ms=waits_ms, backend_ms=w.backend_ms)
        return tally

    def disconnect(self, w: Workload) -> Tally:
        tally = Tally(w, EVENT_LOG_BYTES)
        calls = math.ceil((1 + w.channels) / 25)
        tally.read(*_rows(w), consistent=True)
        tally.write(*_rows(w), indexed=_entries(w), calls=calls)
        tally.post(EVENT_BYTES + w.metadata_bytes)
        waits_ms = (1 + calls) * DATABASE_MS
        tally.invoke(cpu_ms=self.DISCONNECT_CPU_MS, waits_ms=waits_ms, backend_ms=w.backend_ms)
        return tally

    def publish(self, w: Workload) -> Tally:
        tally = Tally(w, EVENT_LOG_BYTES)
        row = subscription_row_bytes(w.channel_bytes)
        cpu_ms, waits_ms = 0.0, 2 * DATABASE_MS
        tally.read(consistent=True)  # the channel's state
        tally.read(*[row] * min(w.subscribers, w.inline_limit + 1), consistent=False)
        if not w.in_answers:
            tally.units[Meter.HTTP_REQUESTS] += http_requests(w.text_bytes)
            tally.units[Meter.DATA_OUT] += ANSWER_BYTES / GIB
            tally.write(1, 1, indexed=(1, 1), calls=2)  # the message's id: claimed, then confirmed
            cpu_ms, waits_ms = self.CONTROL_CPU_MS, waits_ms + 2 * DATABASE_MS
        if w.subscribers <= w.inline_limit:
            cpu_ms += w.subscribers * self.DELIVERY_CPU_MS
            waits_ms += MANAGEMENT_MS if w.subscribers else 0
            tally.send(w.subscribers, w.text_bytes)
        else:
            waits_ms += 3 * DATABASE_MS
            tally.write(1, indexed=(1,))  # the channel's mark: what follows goes by the queue too
            tally.queue(CHUNK_BYTES + w.text_bytes)
            tally.read(*[row] * (w.subscribers - w.inline_limit - 1), consistent=False)  # counted for the report
            self._fan_out(tally, w, row)
        if w.in_answers:  # the function that asked the backend goes on a little longer
            tally.go_on(cpu_ms=cpu_ms, waits_ms=waits_ms)
        else:
            tally.invoke(cpu_ms=cpu_ms, waits_ms=waits_ms)
        return tally

    def _fan_out(self, tally: Tally, w: Workload, row: int) -> None:
        """One message is split into chunks, and each chunk is sent by a function."""
        pages = [min(PAGE_SIZE, w.subscribers - start) for start in range(0, w.subscribers, PAGE_SIZE)]
        tally.queue(CHUNK_BYTES + w.text_bytes, 1)  # received and deleted
        tally.write(1, indexed=(1,))
        for index, page in enumerate(pages):
            tally.read(*[row] * page, consistent=False)
            shards = min(SHARDS, page)
            chunk = CHUNK_BYTES + w.text_bytes + math.ceil(page / shards) * CHUNK_ID_BYTES
            a_call = max(1, min(shards, BATCH_BYTES // chunk))
            tally.queue(*(chunk * min(a_call, shards - start) for start in range(0, shards, a_call)))
            tally.queue(*[chunk] * shards, *[1] * shards)  # received and deleted
            if index + 1 < len(pages):
                tally.write(w.text_bytes + CHUNK_BYTES, indexed=(1,))  # how far it has come
            for _ in range(shards):
                tally.read(consistent=True)
                tally.write(1, indexed=(1,))
            sending_ms = self.CONTROL_CPU_MS + page / shards * self.DELIVERY_CPU_MS
            tally.invoke(cpu_ms=sending_ms, waits_ms=2 * DATABASE_MS + MANAGEMENT_MS, times=shards)
        tally.send(w.subscribers, w.text_bytes)
        waits_ms = 3 * DATABASE_MS * len(pages)
        tally.invoke(cpu_ms=self.CONTROL_CPU_MS + self.PAGE_CPU_MS * len(pages), waits_ms=waits_ms)

    def month(self, w: Workload) -> Tally:
        tally = _being_connected(w)
        tally.units[Meter.SQS_REQUESTS] += IDLE_POLLS
        if w.provisioned:
            arm = w.architecture == "arm64"
            warm = Meter.PROVISIONED_ARM64 if arm else Meter.PROVISIONED_X86
            tally.units[warm] += w.provisioned * gb_seconds(MINUTES_A_MONTH * 60_000, w.memory_mb)
        return tally

    def reached(self, w: Workload) -> int:
        return w.subscribers


class Original:
    """The original gateway's calls, in Node; the function's size and the calls' latencies as ours.

    What is unknown is taken in its favour: reads are eventually consistent, waiting costs no processor time, its rows
    are no larger than ours, a publish from an answer is no call of its own.
    """

    CONNECT_CPU_MS = 12.8  # of both functions
    FRAME_CPU_MS = 6.5
    DISCONNECT_CPU_MS = 8.7
    SENDS_AT_ONCE = 10
    TIMEOUT_MS = 10_000

    def connect(self, w: Workload) -> Tally:
        """Four calls for one channel: the metadata, the other function, its poll, the subscription."""
        tally = Tally(w, LAMBDA_LOG_BYTES)
        connection, *subscriptions = _rows(w)
        tally.post(EVENT_BYTES + CLIENT_HEADERS_BYTES)
        tally.write(connection)
        for row in subscriptions:
            tally.write(row, indexed=(row,))
        tally.aws_calls += 2
        cpu_ms = self.CONNECT_CPU_MS / 2
        tally.invoke(cpu_ms=cpu_ms, waits_ms=DATABASE_MS + MANAGEMENT_MS, backend_ms=w.backend_ms)
        tally.invoke(cpu_ms=cpu_ms, waits_ms=MANAGEMENT_MS + w.channels * DATABASE_MS)
        return tally

    def frame(self, w: Workload) -> Tally:
        tally = Tally(w, LAMBDA_LOG_BYTES)
        tally.receive(w.text_bytes)
        tally.read(connection_row_bytes(w.metadata_bytes), consistent=False)
        tally.post(EVENT_BYTES + w.metadata_bytes + w.text_bytes)
        if w.answered:
            tally.send(w.answered, w.text_bytes)
        waits_ms = DATABASE_MS + w.answered * MANAGEMENT_MS
        tally.invoke(cpu_ms=self.FRAME_CPU_MS, waits_ms=waits_ms, backend_ms=w.backend_ms)
        return tally

    def disconnect(self, w: Workload) -> Tally:
        """Four calls for one channel: metadata and channels are read, and each row is deleted."""
        tally = Tally(w, LAMBDA_LOG_BYTES)
        connection, *subscriptions = _rows(w)
        tally.read(connection, consistent=False)
        tally.read(*subscriptions, consistent=False)
        tally.write(connection)
        for row in subscriptions:
            tally.write(row, indexed=(row,))
        tally.post(EVENT_BYTES + w.metadata_bytes)
        waits_ms = (3 + w.channels) * DATABASE_MS
        tally.invoke(cpu_ms=self.DISCONNECT_CPU_MS, waits_ms=waits_ms, backend_ms=w.backend_ms)
        return tally

    def publish(self, w: Workload) -> Tally:
        tally = Tally(w, LAMBDA_LOG_BYTES)
        reached = self.reached(w)
        tally.read(*[subscription_row_bytes(w.channel_bytes)] * w.subscribers, consistent=False)
        tally.send(reached, w.text_bytes)
        waits_ms = DATABASE_MS + math.ceil(reached / self.SENDS_AT_ONCE) * MANAGEMENT_MS
        if w.in_answers:
            tally.go_on(cpu_ms=0, waits_ms=waits_ms)
        else:
            tally.units[Meter.HTTP_REQUESTS] += http_requests(w.text_bytes)
            tally.units[Meter.DATA_OUT] += ANSWER_BYTES / GIB
            tally.invoke(cpu_ms=self.FRAME_CPU_MS, waits_ms=waits_ms)
        return tally

    def month(self, w: Workload) -> Tally:
        return _being_connected(w)

    def reached(self, w: Workload) -> int:
        """Ten sends at a time until the function's time is up; who is left then gets nothing."""
        return min(w.subscribers, int(self.TIMEOUT_MS / MANAGEMENT_MS * self.SENDS_AT_ONCE))


def _rows(w: Workload) -> list[int]:
    return [connection_row_bytes(w.metadata_bytes), *[subscription_row_bytes(w.channel_bytes)] * w.channels]


def _entries(w: Workload) -> list[int]:
    """The index has all rows, without the metadata."""
    return [subscription_row_bytes(28), *[subscription_row_bytes(w.channel_bytes)] * w.channels]


def _being_connected(w: Workload) -> Tally:
    tally = Tally(w, 0)
    tally.units[Meter.CONNECTION_MINUTES] += w.connections * MINUTES_A_MONTH
    rows, entries = _rows(w), _entries(w)
    stored = sum(rows) + sum(entries) + (len(rows) + len(entries)) * INDEX_ENTRY_OVERHEAD_BYTES
    tally.units[Meter.TABLE_STORAGE] += w.connections * stored / GIB
    return tally
