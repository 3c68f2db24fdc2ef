"""`slip-sockets members`."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer

from ..protocol.events import Member, PresenceReport
from .deployment import (
    ControlApiOption,
    DevOption,
    JsonOption,
    OutputsOption,
    SecretOption,
    StackOption,
    open_publisher,
)
from .printing import in_one_line, print_json, time_of

EXAMPLES = """Examples:

slip-sockets members lobby

slip-sockets members lobby --json"""


def members(
    channel: Annotated[str, typer.Argument(metavar="CHANNEL", help="Those in it who were subscribed with `presence`.")],
    stack: StackOption = "",
    outputs: OutputsOption = None,
    dev: DevOption = False,
    control_api: ControlApiOption = "",
    jwt_secret: SecretOption = "",
    as_json: JsonOption = False,
) -> None:
    """Print who is in a channel at this moment: up to 1,000 members, since when, and what they show of themselves."""
    with open_publisher(control_api, stack, outputs, jwt_secret, dev=dev) as publisher:
        report = publisher.members(channel)
    if as_json:
        print_json({"channel": channel, "report": report})
        return
    for member in report.members:
        typer.echo("  ".join(_described(member)))
    typer.echo(f"{channel}: {_counted(report)}")


def _described(member: Member) -> list[str]:
    parts = [in_one_line(member.user), f"since {time_of(member.since)}"]
    if member.connections != 1:
        parts.append(f"{member.connections:,} connections")
    if member.info is not None:
        parts.append(in_one_line(msgspec.json.encode(member.info).decode()))
    return parts


def _counted(report: PresenceReport) -> str:
    count = f"{report.count:,} member{'' if report.count == 1 else 's'}"
    return f"{count}; the first {len(report.members):,} by name are listed" if report.more else count
