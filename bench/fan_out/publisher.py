"""The control API's function in a process of its own: `python -m bench.fan_out.publisher`.

The environment is a function's. It prints `ready`, then an answer for each line of its input, both JSON; at the end of
the input what it has done.
"""

from __future__ import annotations

import sys
import time

import msgspec

from functions import control
from slip_sockets.gateway.proxy import ProxyResponse

from .lambda_calls import CONTROL_TIMEOUT_S, Context, control_event
from .reports import Publish, Published, footprint


def publish(asked: Publish) -> Published:
    """Stop at the first that is refused."""
    began_at = time.time()
    answer: ProxyResponse = {}
    for text in asked.texts():
        event = {"type": "PUBLISH_TEXT", "channelId": asked.channel, "data": text}
        if asked.message_id is not None:
            event["id"] = asked.message_id
        call = control_event(msgspec.json.encode({"events": [event]}).decode())
        answer = control.handler(call, Context.lasting(CONTROL_TIMEOUT_S))
        if answer["statusCode"] != 200:
            break
    return Published(answer["statusCode"], answer["body"], began_at, time.time())


def main() -> None:
    decoder = msgspec.json.Decoder(Publish)
    handled = 0
    print("ready", flush=True)
    for line in sys.stdin:
        published = publish(decoder.decode(line))
        print(msgspec.json.encode(published).decode(), flush=True)
        handled += 1
    print(msgspec.json.encode(footprint(handled)).decode(), flush=True)


if __name__ == "__main__":
    main()
