from __future__ import annotations

import json
import re
import textwrap
from pathlib import Path

import msgspec
import pytest

from slip_sockets.cost.model import Estimate, estimate
from slip_sockets.cost.prices import PRICES_FILE, read_prices
from slip_sockets.cost.workload import Workload

from .conftest import Cli, refused


def test_json_is_the_estimate(cli: Cli) -> None:
    options = ("--connections", "5000", "--publishes", "2", "--subscribers", "50", "--free-tier", "always")
    result = cli("cost", *options, "--region", "eu-west-1", "--architecture", "x86_64", "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    workload = Workload(connections=5_000, publishes_per_s=2, subscribers=50, architecture="x86_64")
    expected = estimate(workload, read_prices(), region="eu-west-1", free_tier="always")
    assert msgspec.json.decode(result.stdout, type=Estimate) == expected


def test_every_option_reaches_the_workload(cli: Cli) -> None:
    given = {
        "connections": (7, "connections"),
        "connection-minutes": (11, "connectionMin"),
        "sent": (2, "sentPerMin"),
        "replied": (0.5, "replied"),
        "pings": (0.125, "pingsPerMin"),
        "publishes": (3, "publishesPerS"),
        "subscribers": (13, "subscribers"),
        "text-bytes": (17, "textBytes"),
        "backend-ms": (19, "backendMs"),
        "channels": (4, "channels"),
        "users": (0.75, "users"),
        "metadata-bytes": (23, "metadataBytes"),
        "memory": (1_024, "memoryMb"),
        "texts-a-post": (2.5, "textsAPost"),
        "timer": (300.0, "timerS"),
        "inline-limit": (29, "inlineLimit"),
        "provisioned": (5, "provisioned"),
    }
    options = [part for name, (value, _) in given.items() for part in (f"--{name}", str(value))]
    workload = json.loads(cli("cost", *options, "--in-replies", "--inbound", "ordered", "--json").stdout)["workload"]
    assert {key: workload[key] for _, key in given.values()} == {key: value for value, key in given.values()}
    assert (workload["inReplies"], workload["inbound"]) == (True, "ordered")


def test_the_table_shows_parts_total_and_what_dominates(cli: Cli) -> None:
    result = cli("cost", "--subscribers", "5000")
    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    total = json.loads(cli("cost", "--subscribers", "5000", "--json").stdout)
    assert lines[0] == f"{total['usd']:,.2f} USD a month in us-east-1, N. Virginia"
    first = next(line for line in lines if "WebSocket messages" in line)
    assert "13.00 bn" in first
    assert "█" in first
    assert any(line.split() == ["Total", f"{total['usd']:,.2f}"] for line in lines)
    assert f"→ {total['findings'][0]}" in " ".join(result.stdout.split())
    assert "~" not in result.stdout


def test_what_occupancy_costs_is_shown_under_the_names_of_its_events(cli: Cli) -> None:
    with_events = cli("cost", "--joined", "1", "--members", "1", "--occupancy-events").stdout
    assert "OCCUPIED, VACATED " in with_events
    assert "sweeps " in with_events
    assert "OCCUPIED" not in cli("cost", "--joined", "1", "--members", "1").stdout


def test_pings_are_shown_where_there_are_some(cli: Cli) -> None:
    shown = cli("cost", "--connections", "1000", "--pings", "0.125").stdout
    assert "each sending 1 a minute, and 0.125 pings; " in " ".join(shown.split())
    (line,) = [line for line in shown.splitlines() if line.strip().startswith("pings ")]
    assert line.split() == ["pings", "5.40", "M", "10.81", "0", "0"]
    assert "ping" not in cli("cost").stdout


@pytest.mark.parametrize("columns", [80, 96])
def test_nothing_is_cut_off_in_a_terminal_of_80_columns(cli: Cli, columns: int) -> None:
    result = cli(
        "cost", "--connections", "500000", "--subscribers", "5000", "--region", "eu-west-1", COLUMNS=str(columns)
    )
    assert "…" not in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= columns


def test_the_page_shows_what_it_prints(cli: Cli) -> None:
    page = (Path(__file__).parents[2] / "docs" / "cost.md").read_text()
    command, printed = re.findall(r"^    slip-sockets (cost .+)\n\n((?:    .*\n|\n)+)", page, re.MULTILINE)[0]
    result = cli(*command.split(), COLUMNS="96")
    assert [line.rstrip() for line in textwrap.dedent(printed).strip().splitlines()] == [
        line.rstrip() for line in result.stdout.strip().splitlines()
    ]


def test_unchecked_prices_are_marked_in_the_table_and_counted_below_it(cli: Cli) -> None:
    result = cli("cost", "--region", "eu-central-1")
    messages = next(line for line in result.stdout.splitlines() if "WebSocket messages" in line)
    assert " ~" in messages
    time = next(line for line in result.stdout.splitlines() if "Lambda time" in line)
    assert " ~" not in time
    assert "~ 11 of the 12 prices are not checked for this region." in result.stdout
    assert "--prices" in result.stdout
    lines = json.loads(cli("cost", "--json", AWS_REGION="eu-central-1").stdout)["lines"]
    assert sum(line["source"] is None for line in lines) == 11


def test_a_free_meter_is_marked(cli: Cli) -> None:
    result = cli("cost", "--connections", "1", "--publishes", "0", "--free-tier", "always")
    assert "free" in next(line for line in result.stdout.splitlines() if "Lambda invocations" in line)


def test_prices_of_ones_own_count(cli: Cli, tmp_path: Path) -> None:
    book = json.loads(PRICES_FILE.read_text())
    for price in book["regions"]["us-east-1"]["prices"].values():
        price["usd"] = 0
    (tmp_path / "mine.json").write_text(json.dumps(book))
    assert json.loads(cli("cost", "--prices", "mine.json", "--json").stdout)["usd"] == 0


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (("--connections", "-1"), "connections is -1. It must be 0 to 1,000,000,000"),
        (("--connection-minutes", "121"), "connection minutes is 121. It must be 0 to 120"),
        (("--prices", "none.json"), "cannot read none.json: No such file or directory"),
    ],
)
def test_an_impossible_value_is_one_line(cli: Cli, options: tuple[str, ...], line: str) -> None:
    refused(cli("cost", *options), line)


def test_an_unknown_region_is_one_line(cli: Cli) -> None:
    result = cli("cost", "--region", "mars-1")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("slip-sockets: there are no prices for the region 'mars-1'. There are for: ap-")
