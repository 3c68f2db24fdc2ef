"""What Lambda starts for all three routes of the WebSocket API: $connect, $default and $disconnect."""

from __future__ import annotations

import asyncio
import logging
import os

from slip_sockets.aws.context import LambdaContext, deadline_of
from slip_sockets.aws.environment import FunctionSettings, build_dynamodb, build_gateway, build_queue
from slip_sockets.aws.watch import Watch
from slip_sockets.gateway.proxy import ProxyEvent, ProxyResponse

logging.getLogger("slip_sockets").setLevel(logging.INFO)

settings = FunctionSettings.from_environ(os.environ)
watch = Watch(settings.stack_name)
gateway = build_gateway(settings, build_queue(settings), build_dynamodb(), watch.tally)
runner = asyncio.Runner()  # one event loop for the life of the process
run = runner.get_loop().run_until_complete  # `runner.run` sets a signal handler each time: a tenth of a frame's cost


@watch.websocket
def handler(event: ProxyEvent, context: LambdaContext) -> ProxyResponse:
    return run(gateway.on_websocket_event(event, deadline=deadline_of(context)))
