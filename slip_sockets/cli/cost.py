"""`slip-sockets cost`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ..cost.model import estimate
from ..cost.prices import PRICES_FILE, read_prices
from ..cost.workload import Workload
from ..gateway.fan_out import INLINE_LIMIT
from ..gateway.worker import Inbound
from .deployment import JsonOption
from .printing import print_json

EXAMPLES = """Examples:

slip-sockets cost --connections 5000 --publishes 2 --subscribers 50

slip-sockets cost --region eu-central-1 --sent 6 --replied 1 --publishes 0 --free-tier always

slip-sockets cost --inbound ordered --sent 60 --texts-a-post 5

slip-sockets cost --joined 1 --members 25

slip-sockets cost --subscribers 100000 --publishes 0.01 --json"""

_DEFAULT = Workload()


class FreeTierChoice(StrEnum):
    NONE = "none"
    ALWAYS = "always"
    FIRST_YEAR = "first-year"


class ArchitectureChoice(StrEnum):
    ARM64 = "arm64"
    X86_64 = "x86_64"


_TRAFFIC, _GATEWAY, _PRICES = "Traffic", "Gateway", "Prices"


def cost(
    connections: Annotated[
        float, typer.Option(help="Open connections, on average.", rich_help_panel=_TRAFFIC)
    ] = _DEFAULT.connections,
    connection_minutes: Annotated[
        float, typer.Option(help="Duration of a connection, 120 at most.", rich_help_panel=_TRAFFIC)
    ] = _DEFAULT.connection_min,
    sent: Annotated[
        float, typer.Option(help="Texts that a client sends a minute.", rich_help_panel=_TRAFFIC)
    ] = _DEFAULT.sent_per_min,
    replied: Annotated[
        float, typer.Option(help="Share of these that get a text back, 0 to 1.", rich_help_panel=_TRAFFIC)
    ] = _DEFAULT.replied,
    pings: Annotated[
        float, typer.Option(help="Pings that a client sends a minute.", rich_help_panel=_TRAFFIC)
    ] = _DEFAULT.pings_per_min,
    publishes: Annotated[
        float, typer.Option(help="Published texts a second.", rich_help_panel=_TRAFFIC)
    ] = _DEFAULT.publishes_per_s,
    pattern_segments: Annotated[
        int,
        typer.Option(
            help="Where connections subscribe to patterns: colons in the name of a channel, 0 to 4.",
            rich_help_panel=_TRAFFIC,
        ),
    ] = _DEFAULT.pattern_segments,
    subscribers: Annotated[
        int, typer.Option(help="Connections that each publish reaches.", rich_help_panel=_TRAFFIC)
    ] = _DEFAULT.subscribers,
    kept: Annotated[
        float, typer.Option(help="Share of these that are kept, 0 to 1.", rich_help_panel=_TRAFFIC)
    ] = _DEFAULT.kept,
    recovered: Annotated[
        float, typer.Option(help="Share of the connects that recover a channel, 0 to 1.", rich_help_panel=_TRAFFIC)
    ] = _DEFAULT.recovered,
    missed: Annotated[
        int, typer.Option(help="Messages that each of these has missed.", rich_help_panel=_TRAFFIC)
    ] = _DEFAULT.missed,
    joined: Annotated[
        float,
        typer.Option(help="Share of the connects that join a channel as a member, 0 to 1.", rich_help_panel=_TRAFFIC),
    ] = _DEFAULT.joined,
    members: Annotated[
        int, typer.Option(help="Members that such a channel has, on average.", rich_help_panel=_TRAFFIC)
    ] = _DEFAULT.members,
    occupancy_events: Annotated[
        bool, typer.Option("--occupancy-events", help="OCCUPANCY_EVENTS=true.", rich_help_panel=_GATEWAY)
    ] = _DEFAULT.occupancy_events,
    in_replies: Annotated[
        bool,
        typer.Option(
            "--in-replies",
            help="Publishes are in your backend's replies, not calls of the control API.",
            rich_help_panel=_TRAFFIC,
        ),
    ] = False,
    text_bytes: Annotated[
        int, typer.Option(help="Size of a text, in UTF-8.", rich_help_panel=_TRAFFIC)
    ] = _DEFAULT.text_bytes,
    backend_ms: Annotated[
        float,
        typer.Option(help="Time in which your backend responds; functions wait for it.", rich_help_panel=_TRAFFIC),
    ] = _DEFAULT.backend_ms,
    channels: Annotated[
        int, typer.Option(help="Channels that a connection subscribes to when it opens.", rich_help_panel=_TRAFFIC)
    ] = _DEFAULT.channels,
    users: Annotated[
        float, typer.Option(help="Share of the connections with a known user, 0 to 1.", rich_help_panel=_TRAFFIC)
    ] = _DEFAULT.users,
    metadata_bytes: Annotated[
        int,
        typer.Option(
            help="Size of a connection's metadata: the browser's headers, unless you set your own.",
            rich_help_panel=_TRAFFIC,
        ),
    ] = _DEFAULT.metadata_bytes,
    texts_a_post: Annotated[
        float,
        typer.Option(
            help="With --inbound ordered, a client's texts that come to your backend in one POST, 1 to 10.",
            rich_help_panel=_TRAFFIC,
        ),
    ] = _DEFAULT.texts_a_post,
    timer: Annotated[
        float,
        typer.Option(
            help="In GRIP, seconds of a keep-alive that each socket has; 0 for none.", rich_help_panel=_TRAFFIC
        ),
    ] = _DEFAULT.timer_s,
    inbound: Annotated[Inbound, typer.Option(help="INBOUND.", rich_help_panel=_GATEWAY)] = _DEFAULT.inbound,
    memory: Annotated[
        int, typer.Option(help="Megabytes of each function.", rich_help_panel=_GATEWAY)
    ] = _DEFAULT.memory_mb,
    architecture: Annotated[
        ArchitectureChoice, typer.Option(help="LAMBDA_ARCHITECTURE.", rich_help_panel=_GATEWAY)
    ] = ArchitectureChoice.ARM64,
    inline_limit: Annotated[int, typer.Option(help="INLINE_LIMIT.", rich_help_panel=_GATEWAY)] = INLINE_LIMIT,
    provisioned: Annotated[
        int, typer.Option(help="PROVISIONED_CONCURRENCY: functions kept warm.", rich_help_panel=_GATEWAY)
    ] = 0,
    region: Annotated[
        str, typer.Option(envvar="AWS_REGION", help="The region, which sets the prices.", rich_help_panel=_PRICES)
    ] = "us-east-1",
    free_tier: Annotated[
        FreeTierChoice,
        typer.Option(help="The account's free units each month, all for this deployment.", rich_help_panel=_PRICES),
    ] = FreeTierChoice.NONE,
    prices: Annotated[
        Path,
        typer.Option(help="A price file of your own.", rich_help_panel=_PRICES, show_default=False),
    ] = PRICES_FILE,
    as_json: JsonOption = False,
) -> None:
    """Compute the cost of a month on AWS, by part.

    A month has 30 days. Taxes, alarms, your backend and your domain are not included. Prices come from a file with its
    date and sources; prices that are not checked are marked.
    """
    workload = Workload(
        connections=connections,
        connection_min=connection_minutes,
        sent_per_min=sent,
        replied=replied,
        pings_per_min=pings,
        publishes_per_s=publishes,
        pattern_segments=pattern_segments,
        subscribers=subscribers,
        kept=kept,
        recovered=recovered,
        missed=missed,
        joined=joined,
        members=members,
        occupancy_events=occupancy_events,
        in_replies=in_replies,
        text_bytes=text_bytes,
        backend_ms=backend_ms,
        channels=channels,
        users=users,
        metadata_bytes=metadata_bytes,
        memory_mb=memory,
        architecture=architecture.value,
        inbound=inbound,
        texts_a_post=texts_a_post,
        timer_s=timer,
        inline_limit=inline_limit,
        provisioned=provisioned,
    )
    result = estimate(workload, read_prices(prices), region=region, free_tier=free_tier.value)
    if as_json:
        print_json(result)
        return
    from rich.console import Console

    from ..cost.report import render

    Console().print(render(result))
