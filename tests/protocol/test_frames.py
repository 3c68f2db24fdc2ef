from __future__ import annotations

import json
from typing import Any

import pytest

from slip_sockets.protocol.frames import (
    ClientFrame,
    ErrorFrame,
    FrameError,
    InvalidFrame,
    MessageFrame,
    PingFrame,
    PongFrame,
    RecoverFrame,
    ServerFrame,
    SubscribedFrame,
    TextFrame,
    decode_client_frame,
    encode_frame,
)

TO_CLIENT: list[tuple[ServerFrame, dict[str, Any]]] = [
    (TextFrame("é"), {"slip": "text", "data": "é"}),
    (MessageFrame("tea", "hi"), {"slip": "message", "channel": "tea", "data": "hi"}),
    (
        MessageFrame("tea", "", "k3J9:17"),
        {"slip": "message", "channel": "tea", "data": "", "position": "k3J9:17"},
    ),
    (SubscribedFrame("tea", "k3J9:0"), {"slip": "subscribed", "channel": "tea", "position": "k3J9:0"}),
    (
        SubscribedFrame("tea", "k3J9:17", recovered=True, since="k3J9:12"),
        {"slip": "subscribed", "channel": "tea", "position": "k3J9:17", "recovered": True, "since": "k3J9:12"},
    ),
    (
        SubscribedFrame("tea", "k3J9:17", recovered=False),
        {"slip": "subscribed", "channel": "tea", "position": "k3J9:17", "recovered": False},
    ),
    (PongFrame(), {"slip": "pong"}),
    (ErrorFrame(FrameError.INVALID), {"slip": "error", "code": "invalid"}),
    (ErrorFrame(FrameError.TOO_LARGE), {"slip": "error", "code": "too_large"}),
    (
        ErrorFrame(FrameError.NOT_SUBSCRIBED, "tea"),
        {"slip": "error", "code": "not_subscribed", "channel": "tea"},
    ),
]


@pytest.mark.parametrize(("frame", "wire"), TO_CLIENT)
def test_a_frame_to_the_client_is_its_wire_form(frame: ServerFrame, wire: dict[str, Any]) -> None:
    encoded = encode_frame(frame)
    assert json.loads(encoded) == wire
    assert encoded.startswith('{"slip":"'), "programs and API Gateway's logs find the kind first"


FROM_CLIENT: list[tuple[ClientFrame, dict[str, Any]]] = [
    (TextFrame("é\0"), {"slip": "text", "data": "é\0"}),
    (TextFrame(""), {"slip": "text", "data": ""}),
    (RecoverFrame("tea", "k3J9:12"), {"slip": "recover", "channel": "tea", "since": "k3J9:12"}),
    (PingFrame(), {"slip": "ping"}),
]


@pytest.mark.parametrize(("frame", "wire"), FROM_CLIENT)
def test_a_frame_of_the_client_is_its_wire_form_and_back(frame: ClientFrame, wire: dict[str, Any]) -> None:
    assert json.loads(encode_frame(frame)) == wire
    assert decode_client_frame(json.dumps(wire)) == frame
    assert decode_client_frame(json.dumps({"later": [wire]} | wire | {"position": 3})) == frame


@pytest.mark.parametrize(
    "text",
    [
        '{"slip":"presence"}',
        '{"slip":"dance","data":5}',
        '{"slip":""}',
        '{"slip":"message","channel":"tea","data":"forged","position":"k3J9:1"}',
        '{"slip":"subscribed","channel":"tea"}',
        '{"slip":"PING"}',
    ],
)
def test_an_unknown_kind_is_ignored(text: str) -> None:
    assert decode_client_frame(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hi",
        "null",
        "[]",
        '"ping"',
        "{}",
        '{"data":"hi"}',
        '{"slip":null}',
        '{"slip":["ping"]}',
        '{"slip":"ping"} {"slip":"ping"}',
        '{"slip":"text"}',
        '{"slip":"text","data":null}',
        '{"slip":"text","data":{"a":1}}',
        '{"slip":"text","data":"\\ud800"}',
        '{"slip":"text","data":"\ud800"}',
        '{"slip":"recover","channel":"tea"}',
        '{"slip":"recover","since":"k3J9:1"}',
        '{"slip":"recover","channel":"tea","since":12}',
        '\ufeff{"slip":"ping"}',
        '{"slip":"ping","x":' + "[" * 100_000 + "]" * 100_000 + "}",
    ],
    ids=lambda text: ascii(text[:40]),
)
def test_something_else_than_a_frame_is_invalid(text: str) -> None:
    with pytest.raises(InvalidFrame):
        decode_client_frame(text)
