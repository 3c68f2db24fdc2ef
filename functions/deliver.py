"""What Lambda starts for the queue: what had to wait."""

from __future__ import annotations

import asyncio
import logging
import os

from slip_sockets.aws.consumer import BatchResponse, SqsEvent, handle_batch
from slip_sockets.aws.context import LambdaContext, deadline_of
from slip_sockets.aws.environment import FunctionSettings, build_dynamodb, build_gateway, build_progress, build_queue
from slip_sockets.aws.watch import Watch

logging.getLogger("slip_sockets").setLevel(logging.INFO)

settings = FunctionSettings.from_environ(os.environ)
queue = build_queue(settings)
dynamodb = build_dynamodb()
watch = Watch(settings.stack_name)
gateway = build_gateway(settings, queue, dynamodb, watch.tally)
progress = build_progress(settings, dynamodb)
runner = asyncio.Runner()  # one event loop for the life of the process
run = runner.get_loop().run_until_complete  # `runner.run` sets a signal handler each time: a tenth of a frame's cost


@watch.deferred
def handler(event: SqsEvent, context: LambdaContext) -> BatchResponse:
    return run(handle_batch(event, gateway.on_deferred, queue, progress, deadline=deadline_of(context)))
