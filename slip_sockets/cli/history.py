"""`slip-sockets history`."""

from __future__ import annotations

from typing import Annotated

import typer

from ..protocol.errors import InvalidSettings
from ..protocol.events import HistoryReport
from .audience import Audience, UserOption
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

slip-sockets history lobby

slip-sockets history lobby --since k3J9mQ2x:12 --limit 1000 --json

slip-sockets history --user ann"""


def history(
    channel: Annotated[
        str,
        typer.Argument(metavar="[CHANNEL]", help="Its messages that were published with `keep`.", show_default=False),
    ] = "",
    user: UserOption = None,
    since: Annotated[
        str, typer.Option("--since", help="Those after this position; otherwise the newest.", show_default=False)
    ] = "",
    limit: Annotated[int, typer.Option("--limit", help="At most this number of messages, 1 to 1,000.")] = 100,
    stack: StackOption = "",
    outputs: OutputsOption = None,
    dev: DevOption = False,
    control_api: ControlApiOption = "",
    jwt_secret: SecretOption = "",
    as_json: JsonOption = False,
) -> None:
    """Print what is kept of a channel, or for a user, oldest first, and the position of the newest message."""
    if bool(channel) == (user is not None):
        raise InvalidSettings(["history needs either a channel or --user"])
    audience = Audience.of(channel, user)
    with open_publisher(control_api, stack, outputs, jwt_secret, dev=dev) as publisher:
        report = publisher.history(audience.channel, since=since or None, limit=limit)
    if as_json:
        print_json(audience.document(report))
        return
    for message in report.messages:
        typer.echo(f"{message.position}  {time_of(message.published_at)}  {in_one_line(message.data)}")
    typer.echo(f"{audience.title}: {_described(report, since)}")


def _described(report: HistoryReport, since: str) -> str:
    newest = f"newest {report.position}"
    if report.recovered is False:
        return f"what came after {since} is not kept, or not all of it; {newest}"
    count = len(report.messages)
    parts = [f"{count:,} message{'' if count == 1 else 's'}", newest]
    if report.more:
        parts.append(f"more after {report.messages[-1].position}" if since else "older ones are kept too")
    return "; ".join(parts)
