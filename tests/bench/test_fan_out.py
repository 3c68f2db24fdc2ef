"""The benchmark of the fan-out works: tiny runs of each case, without a word about speed."""

from __future__ import annotations

import json

import pytest

from bench.fan_out.__main__ import main
from bench.fan_out.cases import CASES, Sizes
from bench.figures import Figure, figures_table

TINY = Sizes(
    workers=1,
    rounds=1,
    inline_limit=10,
    sender=50,
    sender_boto3=50,
    inline=10,
    queued=50,
    million=100,
    capped=((500, 50),),
    shared=2_000,
    kept=5,
)


def measured(case: str) -> dict[str, float]:
    return {figure.name: figure.value for figure in CASES[case](TINY)}


class TestCases:
    def test_sender_compares_ours_with_boto3(self) -> None:
        figures = measured("sender")
        assert figures["deliveries"] > 0
        assert figures["ours to boto3, 64 threads: by processor time"] > 0

    def test_inline_measures_to_the_last_delivery(self) -> None:
        assert measured("inline")["publish to last delivery"] > 0

    def test_queued_delivers_to_all(self) -> None:
        figures = measured("queued")
        assert (figures["delivered"], figures["duplicates"]) == (100, 0)
        assert figures["peak memory of the largest function"] > 1

    def test_million_counts_what_the_coordinator_sends(self) -> None:
        figures = measured("million")
        assert figures["queue messages"] == 9
        assert figures["pages of subscribers"] == 1
        assert figures["DynamoDB read units: the pages"] > 0

    def test_capped_delivers_to_all_begun_inline_or_not(self) -> None:
        figures = measured("capped")
        assert (figures["500/s: delivered"], figures["500/s, begun inline: delivered"]) == (100, 100)

    def test_kept_publishes_cost_two_calls_and_four_write_units_more_at_most(self) -> None:
        figures = measured("kept")
        assert figures["kept: publishes"] > 0
        assert figures["not kept: calls of DynamoDB"] == 2
        assert figures["not kept: write units"] == 0
        assert figures["kept: write units"] <= 4

    def test_shared_leaves_room_for_another_caller(self) -> None:
        figures = measured("shared")
        assert (figures["FAN_OUT_RATE: delivered"], figures["without: delivered"]) == (100, 100)
        assert figures["FAN_OUT_RATE: calls with 429"] == 0
        assert figures["FAN_OUT_RATE: deliveries for each write of the table"] > 100


class TestMain:
    def test_a_named_case_is_printed_as_a_table(self, capsys: pytest.CaptureFixture[str]) -> None:
        main(["million", "--million", "100", "--inline-limit", "10"])
        lines = capsys.readouterr().out.splitlines()
        assert lines[0].split() == ["case", "figure", "measured", "to", "reach", "reached"]
        assert lines[1].startswith("million   the publisher's response")

    def test_figures_are_printed_as_json(self, capsys: pytest.CaptureFixture[str]) -> None:
        main(["million", "--quick", "--million", "100", "--inline-limit", "10", "--json"])
        figures = json.loads(capsys.readouterr().out)["million"]
        assert {"name": "queue messages", "value": 9, "unit": "", "at_least": None, "at_most": None} in figures

    def test_unknown_case_is_refused(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            main(["sendre"])
        error = "there is no case 'sendre', only sender, inline, queued, million, capped, shared"
        assert error in capsys.readouterr().err


class TestFiguresTable:
    def test_columns_are_aligned_and_a_case_is_named_once(self) -> None:
        figures = [
            Figure("delivered", 100, "%", at_least=100, at_most=100),
            Figure("response", 0.25, "s", at_most=0.2),
            Figure("deliveries", 4321.9, "/s", at_least=4000),
            Figure("pages", 13),
        ]
        assert figures_table({"queued": figures}).splitlines() == [
            "case     figure       measured   to reach      reached",
            "queued   delivered    100 %      100 %         yes",
            "         response     0.250 s    <= 0.200 s    NO",
            "         deliveries   4,322 /s   >= 4,000 /s   yes",
            "         pages        13",
        ]
