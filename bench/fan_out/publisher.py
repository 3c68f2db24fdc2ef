"""The control API's function in a process of its own: `python -m bench.fan_out.publisher`.

The environment is a function's. It prints `ready`, and for each line of its input a line, both JSON; at the end of the
input what it has used.
"""

from __future__ import annotations

import sys
import time

import msgspec

from functions import control

from ..stubs.lambda_calls import CONTROL_TIMEOUT_S, Context, control_event
from .reports import Publish, Published, footprint


def perform(publish: Publish) -> Published:
    event = {"type": "PUBLISH_TEXT", "channelId": publish.channel, "data": publish.text}
    if publish.message_id is not None:
        event["id"] = publish.message_id
    call = control_event(msgspec.json.encode({"events": [event]}))
    began_at = time.time()
    response = control.handler(call, Context.lasting(CONTROL_TIMEOUT_S))
    return Published(response["statusCode"], response["body"], began_at, time.time())


def main() -> None:
    decoder = msgspec.json.Decoder(Publish)
    handled = 0
    print("ready", flush=True)
    for line in sys.stdin:
        published = perform(decoder.decode(line))
        print(msgspec.json.encode(published).decode(), flush=True)
        handled += 1
    print(msgspec.json.encode(footprint(handled)).decode(), flush=True)


if __name__ == "__main__":
    main()
