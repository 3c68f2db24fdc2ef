"""`slip-sockets send`."""

from __future__ import annotations

from typing import Annotated

import typer

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
from .printing import print_json, text_or_stdin

EXAMPLES = """Examples:

slip-sockets send L0SM9cOFvHcCIhw= "only for you"

cat message.json | slip-sockets send L0SM9cOFvHcCIhw= -"""


def send(
    connection_id: Annotated[str, typer.Argument(metavar="CONNECTION", help="Its id, as your backend receives it.")],
    text: Annotated[
        str, typer.Argument(metavar="TEXT", help="The text; - reads it from stdin, without the newline at its end.")
    ],
    stack: StackOption = "",
    outputs: OutputsOption = None,
    dev: DevOption = False,
    control_api: ControlApiOption = "",
    jwt_secret: SecretOption = "",
    as_json: JsonOption = False,
) -> None:
    """Send a text to one connection.

    The control API does not report whether the connection exists: it skips one that is gone, and logs that.
    """
    checked_connection_id(connection_id)
    with open_publisher(control_api, stack, outputs, jwt_secret, dev=dev) as publisher:
        publisher.send_text(connection_id, text_or_stdin(text))
    if as_json:
        print_json({"connectionId": connection_id, "taken": True})
    else:
        typer.echo(f"accepted for {connection_id}")
