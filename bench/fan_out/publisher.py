"""The control API's function in a process of its own: `python -m bench.fan_out.publisher`.

The environment is a function's. It prints `ready`, and for each line of its input a line, both JSON; at the end of the
input what it has used.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import msgspec

from functions import control

from ..stubs.lambda_calls import CONTROL_TIMEOUT_S, Context, control_event
from .reports import Publish, Published, footprint

KEEP = {"count": 1_000, "seconds": 3_600}


def perform(publish: Publish) -> Published:
    event: dict[str, Any] = {"type": "PUBLISH_TEXT", "channelId": publish.channel, "data": publish.text}
    if publish.message_id is not None:
        event["id"] = publish.message_id
    if publish.is_kept:
        event["keep"] = KEEP
    call = control_event(msgspec.json.encode({"events": [event]}))
    began_at = time.time()
    responses = [control.handler(call, Context.lasting(CONTROL_TIMEOUT_S)) for _ in range(publish.count)]
    ended_at = time.time()
    response = next((each for each in responses if each["statusCode"] != 200), responses[-1])
    return Published(response["statusCode"], response["body"], began_at, ended_at)


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
