"""The gateway: decides what happens on each event, and does it through ports.

It knows no cloud and no dialect. A transport hands it values (`values`) and gets values back:

- `sockets` handles what happens on a connection: connect, message, disconnect. `backend` sends the event to the
  application, in the words of a dialect (`dialects`); `plan_open` decides what of the reply happens before the socket
  is open; `perform` does the rest, one action after another.
- `control` handles a call of a publisher: the dialect checks and decodes it, `perform` does it.
- `fan_out` sends to all subscribers of a channel, at once (`delivery`) or by the queue; `idempotency` lets a message
  with an id through once; `recent` knows what an index may not show yet.
- `deferred` are the messages of the queue, and `worker` makes one attempt at one of them.

What it needs of the world it names as Protocols in `ports`; what happened it reports to an observer (`observer`).
"""
