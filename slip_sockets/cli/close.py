"""`slip-sockets close`."""

from __future__ import annotations

from typing import Annotated

import typer

from ..protocol.errors import InvalidSettings
from .deployment import (
    ControlApiOption,
    DevOption,
    JsonOption,
    OutputsOption,
    SecretOption,
    StackOption,
    checked_connection_id,
    open_publisher,
)
from .printing import described, print_json

EXAMPLES = """Examples:

slip-sockets close L0SM9cOFvHcCIhw=

slip-sockets close --channel lobby --stack slip-sockets-staging"""


def close(
    connection_id: Annotated[str, typer.Argument(metavar="[CONNECTION]", help="Its id.", show_default=False)] = "",
    channel: Annotated[str, typer.Option("--channel", help="Close all subscribers of this channel instead.")] = "",
    stack: StackOption = "",
    outputs: OutputsOption = None,
    dev: DevOption = False,
    control_api: ControlApiOption = "",
    jwt_secret: SecretOption = "",
    as_json: JsonOption = False,
) -> None:
    """Close one connection, or the connections of all subscribers of a channel. The clients see code 1000."""
    if bool(connection_id) == bool(channel):
        raise InvalidSettings(["close needs either a connection's id or --channel"])
    if connection_id:
        checked_connection_id(connection_id)
    with open_publisher(control_api, stack, outputs, jwt_secret, dev=dev) as publisher:
        if channel:
            report = publisher.close_channel(channel)
            if as_json:
                print_json({"channel": channel, "report": report if report.is_reported else None})
            else:
                typer.echo(f"{channel}: {described(report).replace('sent', 'closed')}")
            return
        publisher.close(connection_id)
    if as_json:
        print_json({"connectionId": connection_id, "taken": True})
    else:
        typer.echo(f"accepted for {connection_id}")
