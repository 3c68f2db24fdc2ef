"""`slip-sockets close`."""

from __future__ import annotations

from typing import Annotated

import typer

from ..protocol.errors import InvalidSettings
from .audience import Audience, UserOption
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
from .printing import print_json

EXAMPLES = """Examples:

slip-sockets close L0SM9cOFvHcCIhw=

slip-sockets close --channel lobby --stack slip-sockets-staging

slip-sockets close --user ann --except-connection-id L0SM9cOFvHcCIhw="""


def close(
    connection_id: Annotated[str, typer.Argument(metavar="[CONNECTION]", help="Its id.", show_default=False)] = "",
    channel: Annotated[str, typer.Option("--channel", help="Close all subscribers of this channel instead.")] = "",
    user: UserOption = None,
    except_connection_id: Annotated[
        str,
        typer.Option(
            "--except-connection-id", help="With --channel or --user: all but this connection.", show_default=False
        ),
    ] = "",
    stack: StackOption = "",
    outputs: OutputsOption = None,
    dev: DevOption = False,
    control_api: ControlApiOption = "",
    jwt_secret: SecretOption = "",
    as_json: JsonOption = False,
) -> None:
    """Close one connection, or those of all subscribers of a channel, or of a user. The clients see code 1000."""
    if bool(connection_id) + bool(channel) + (user is not None) != 1:
        raise InvalidSettings(["close needs one of these: a connection's id, --channel or --user"])
    if connection_id and except_connection_id:
        raise InvalidSettings(["--except-connection-id goes with --channel or --user"])
    for each in filter(None, (connection_id, except_connection_id)):
        checked_connection_id(each)
    audience = Audience.of(channel, user)
    with open_publisher(control_api, stack, outputs, jwt_secret, dev=dev) as publisher:
        if not connection_id:
            report = publisher.close_channel(audience.channel, except_connection_id=except_connection_id or None)
            if as_json:
                print_json(audience.document(report))
            else:
                typer.echo(audience.line(report, done="closed"))
            return
        publisher.close(connection_id)
    if as_json:
        print_json({"connectionId": connection_id, "taken": True})
    else:
        typer.echo(f"accepted for {connection_id}")
