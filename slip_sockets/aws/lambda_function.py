"""The handlers that Lambda calls, each built once, at a cold start, from the function's environment."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from ..apigateway.functions import control_function, websocket_function
from ..apigateway.requests import ProxyEvent, ProxyResponse
from ..gateway.observer import EventType, HandledEvent, handling
from .consumer import BatchResponse, Consumer, SqsEvent, sent_at
from .environment import FunctionSettings, Runtime
from .lambda_context import LambdaContext, deadline_of
from .log_fields import install_log_fields
from .metrics import MetricsLog

_EVENT_TYPES = {"CONNECT": EventType.OPEN, "MESSAGE": EventType.TEXT, "DISCONNECT": EventType.CLOSE}


class Handler(msgspec.Struct, frozen=True):
    """What Lambda calls with each event. `close` ends the event loop; Lambda ends the process without it."""

    handle: Callable[[dict[str, Any], LambdaContext], dict[str, Any]]
    close: Callable[[], None]

    def __call__(self, event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
        return self.handle(event, context)


class _Function:
    """What the three functions have in common."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        logging.getLogger("slip_sockets").setLevel(logging.INFO)
        install_log_fields()
        settings = FunctionSettings.from_environ(environ)
        self.log = MetricsLog(settings.stack_name)
        self.runtime = Runtime(settings, self.log.metrics, on_table_throttled=self.log.metrics.table_throttled)
        self.gateway = self.runtime.gateway
        # One event loop for the life of the process. `Runner.run` sets a signal handler each time: a tenth of a TEXT's
        # cost.
        self._runner = asyncio.Runner()
        self.run = self._runner.get_loop().run_until_complete
        self.run(self.runtime.start())

    def close(self) -> None:
        self.run(self.runtime.aclose())
        self._runner.close()


def websocket_handler(environ: Mapping[str, str]) -> Handler:
    """Return the handler of all routes of the WebSocket API. Raises InvalidSettings."""
    function = _Function(environ)
    sockets = function.gateway.sockets

    def handle(event: ProxyEvent, context: LambdaContext) -> ProxyResponse:
        request = event["requestContext"]
        with function.log.event(_EVENT_TYPES[request["eventType"]], context, request["connectionId"]):
            return function.run(websocket_function(sockets, event, deadline=deadline_of(context)))

    return Handler(handle, function.close)


def control_handler(environ: Mapping[str, str]) -> Handler:
    """Return the handler of the HTTP API: the control API. Raises InvalidSettings."""
    function = _Function(environ)
    control = function.gateway.control

    def handle(event: ProxyEvent, context: LambdaContext) -> ProxyResponse:
        with function.log.event(EventType.CONTROL, context):
            return function.run(control_function(control, event, deadline=deadline_of(context)))

    return Handler(handle, function.close)


def deliver_handler(environ: Mapping[str, str]) -> Handler:
    """Return the handler of all queues: deferred messages, what clients send, and timers. Raises InvalidSettings."""
    function = _Function(environ)
    runtime, gateway, metrics = function.runtime, function.gateway, function.log.metrics
    deferred = Consumer(gateway.worker, runtime.queue, runtime.checkpoints, runtime.clock)
    inbound = Consumer(
        gateway.inbound, runtime.inbound_queue, runtime.checkpoints, runtime.clock, dead_letters=runtime.dead_letters
    )
    timers = None if runtime.timers is None else deferred.of(runtime.timers, dead_letters=runtime.dead_letters)

    def handle(event: SqsEvent, context: LambdaContext) -> BatchResponse:
        consumer, event_type, waited = deferred, EventType.DEFERRED, metrics.attempted
        if runtime.inbound_queue.is_source_of(event):
            consumer, event_type, waited = inbound, EventType.TEXT, metrics.texts_waited
        elif timers is not None and timers.queue.is_source_of(event):
            consumer, waited = timers, _not_counted
        with function.log.event(event_type, context), handling(HandledEvent(event_type)):
            try:
                response = function.run(consumer.handle(event, deadline=deadline_of(context)))
            finally:
                for record in event["Records"]:
                    waited(age_s=time.time() - sent_at(record))
            metrics.failures_at_least(len(response["batchItemFailures"]))
            return response

    return Handler(handle, function.close)


def _not_counted(*, age_s: float) -> None:
    """Of a timer: it is there to wait."""
