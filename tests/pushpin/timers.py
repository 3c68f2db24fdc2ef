"""Scenes of texts that come later, and of items that wait for each other."""

from __future__ import annotations

from .scenes import control, controls, message, publish
from .tables import Table, items

FLUSH = control(type="flush-delayed")


def delayed(**fields: object) -> bytes:
    return control(**{"type": "send-delayed", "content": "later", "timeout": 60, **fields})


FIELDS: dict[str, dict[str, object]] = {
    "": {},
    "content of another type": {"content": 1},
    "no content": {"content": None},
    "no base64": {"content-bin": "#"},
    "base64": {"content-bin": "WsO2"},
    "content-bin of another type": {"content-bin": 1},
    "timeout 0": {"timeout": 0},
    "timeout below 0": {"timeout": -1},
    "timeout of another type": {"timeout": "1"},
    "timeout that is no number": {"timeout": "x"},
    "timeout below 0 as text": {"timeout": "-1"},
    "timeout true": {"timeout": True},
    "base64 of other characters": {"content-bin": "_-!W sO2"},
    "timeout null": {"timeout": None},
    "timeout with a fraction": {"timeout": 60.5},
    "another mode": {"mode": "x"},
    "another message-type": {"message-type": "x"},
    "message-type null": {"message-type": None},
}

TIMERS: Table = {
    **{f"delayed {name}": (controls(delayed(**fields), FLUSH),) for name, fields in FIELDS.items()},
    "delayed twice": (controls(delayed(content="1"), delayed(content="2"), FLUSH, FLUSH),),
    "delayed twice, the second malformed": (controls(delayed(content="1"), delayed(content=2), FLUSH),),
}

SEQUENCES: Table = {
    "never complete": (publish(items(message("1", id="q1")), items(message("3", id="q3", prev_id="q2")), until="3"),),
    "begun anew by an item without an id": (
        publish(items(message("1", id="r1")), items(message("2")), items(message("3", id="r3", prev_id="r0"))),
    ),
    "with an item outside of it": (
        publish(
            items(message("1", id="s1")),
            items({**message("2", id="s2", prev_id="s0"), "no-seq": True}),
            items(message("3", id="s3", prev_id="s1")),
        ),
    ),
    "with an item without an id": (
        publish(
            items(message("1", id="u1")),
            items(message("3", prev_id="u2")),
            items(message("2", id="u2", prev_id="u1")),
            until="3",
        ),
    ),
    "in one request": (
        publish(
            items(message("1", id="v1"), message("4", id="v4", prev_id="v3"), message("3", id="v3", prev_id="v2")),
            items(message("2", id="v2", prev_id="v1")),
            until="4",
        ),
    ),
    "with an item for others": (
        publish(
            items(message("1", id="w1")),
            items({"channel": "c", "id": "w2", "prev-id": "w1", "formats": {"http-stream": {"content": "x"}}}),
            items(message("3", id="w3", prev_id="w2")),
            until="3",
        ),
    ),
}
