"""The benchmarks work: tiny runs of ours alone, without a word about speed."""

from __future__ import annotations

import json
import os

import pytest
from websockets.frames import Frame, Opcode

from bench.__main__ import main
from bench.cases import Options, echo, idle
from bench.comparison import Comparison, Goal, comparison_table
from bench.load import Clients, client_frame, server_frame
from bench.processes import usage
from bench.publishing import PublishRequest
from bench.servers import CHANNEL, backend, slip_sockets
from bench.stubs.backend import grip_reply, slip_reply

PUBLISH_REQUEST = PublishRequest(1, "/", "", b"", b"")


class TestCases:
    def test_echo_counts_round_trips(self) -> None:
        assert echo(slip_sockets, Options(connections=3, warm_up_s=0.1, seconds=0.3)).value > 0

    def test_fan_out_delivers_each_message_to_each_subscriber(self) -> None:
        with backend(CHANNEL) as port, slip_sockets(port) as server, Clients(server.port, 5) as clients:
            done = clients.fan_out(server.publish_request, publishers=2, window=4, seconds=0.3)
        assert done.arrived == done.expected
        assert done.arrived % 5 == 0
        assert done.arrived > 0

    def test_idle_measures_a_running_server(self) -> None:
        assert "MB before" in idle(slip_sockets, Options(idle_sockets=5)).remark

    def test_main_prints_a_row_for_each_case(self, capsys: pytest.CaptureFixture[str]) -> None:
        sizes = "--no-pushpin --rounds 1 --seconds 0.2 --warm-up 0.1 --connections 2 --subscribers 3 --idle-sockets 4"
        main(sizes.split())
        lines = capsys.readouterr().out.splitlines()
        assert [line.split("   ")[0] for line in lines] == [
            "case",
            "echo through the backend, 2 connections",
            "deliveries of one channel, 3 subscribers",
            "memory of 4 idle sockets",
            "GRIP: echo through the backend, 2 connections",
            "GRIP: deliveries of one channel, 3 subscribers",
        ]

    def test_unknown_case_is_refused(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            main(["ecko"])
        assert (
            "there is no case 'ecko', only echo, fanout, idle, grip-echo, grip-fanout, synth" in capsys.readouterr().err
        )


class TestBackend:
    def test_slip_open_is_accepted_and_subscribed(self) -> None:
        request = {"connectionId": "c", "metadata": {}, "events": [{"type": "OPEN", "connectionId": "c"}]}
        assert json.loads(slip_reply(json.dumps(request).encode(), "news")) == {
            "events": [
                {"type": "ACCEPT", "connectionId": "c"},
                {"type": "SUBSCRIBE", "connectionId": "c", "channel": "news"},
            ]
        }

    def test_slip_text_is_echoed(self) -> None:
        request = {
            "connectionId": "c",
            "metadata": None,
            "events": [{"type": "TEXT", "connectionId": "c", "data": "hi"}],
        }
        assert json.loads(slip_reply(json.dumps(request).encode(), "")) == {
            "events": [{"type": "TEXT", "connectionId": "c", "data": "hi"}]
        }

    def test_grip_open_is_accepted_and_subscribed(self) -> None:
        control = b'c:{"type":"subscribe","channel":"news"}'
        assert grip_reply(b"OPEN\r\n", "news") == b"OPEN\r\nTEXT %x\r\n%b\r\n" % (len(control), control)

    def test_grip_texts_are_echoed(self) -> None:
        assert grip_reply(b"TEXT 4\r\na\r\nb\r\nTEXT\r\n", "") == b"TEXT 6\r\nm:a\r\nb\r\nTEXT 2\r\nm:\r\n"

    def test_grip_close_is_replied_to(self) -> None:
        assert grip_reply(b"CLOSE 2\r\n\x03\xe8\r\n", "") == b"CLOSE\r\n"


class TestFrames:
    @pytest.mark.parametrize("size", [0, 125, 126, 200])
    def test_server_frame_is_a_websocket_frame(self, size: int) -> None:
        assert server_frame(b"x" * size) == Frame(Opcode.TEXT, b"x" * size).serialize(mask=False)

    def test_client_frame_is_masked(self) -> None:
        frame = client_frame(b"hello")
        assert frame[:2] == b"\x81\x85"
        assert bytes(byte ^ frame[2 + at % 4] for at, byte in enumerate(frame[6:])) == b"hello"

    def test_messages_differ_and_are_equally_long(self) -> None:
        assert PUBLISH_REQUEST.message(1) != PUBLISH_REQUEST.message(2)
        assert len(PUBLISH_REQUEST.message(1)) == len(PUBLISH_REQUEST.message(10**9)) == 200


class TestComparison:
    def test_ratio_goal_reached(self) -> None:
        row = Comparison("echo", "/s", Goal(ratio_at_least=0.5), [600, 500, 700], [1000, 900, 1100])
        assert row.verdict() == "yes, by 20%"

    def test_ratio_goal_missed(self) -> None:
        assert Comparison("echo", "/s", Goal(ratio_at_least=0.5), [400], [1000]).verdict() == "NO, by 20%"

    def test_limit_missed(self) -> None:
        assert Comparison("idle", "MB", Goal(at_most=40), [50], []).verdict() == "NO, by 25%"

    def test_without_pushpin_a_ratio_is_not_known(self) -> None:
        assert Comparison("echo", "/s", Goal(ratio_at_least=0.5), [400], []).verdict() == "not known: no Pushpin"

    def test_columns_are_aligned(self) -> None:
        shown = comparison_table([Comparison("echo", "/s", Goal(ratio_at_least=0.5), [1500, 1600, 1400], [2000])])
        assert shown.splitlines() == [
            "case   ours                        Pushpin's   ratio   to reach       reached",
            "echo   1,500 /s (1,400 to 1,600)   2,000 /s    0.75    ratio >= 0.5   yes, by 50%",
        ]


def test_usage_of_this_process() -> None:
    used = usage(os.getpid())
    assert used.rss_bytes > 1_000_000
    assert used.cpu_s > 0
