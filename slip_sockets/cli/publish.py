"""`slip-sockets publish`."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer

from ..protocol.errors import InvalidSettings
from ..protocol.events import Keep
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
from .printing import lines_of_stdin, print_json, text_or_stdin

EXAMPLES = """Examples:

slip-sockets publish lobby "hello all"

date | slip-sockets publish clock - --stack slip-sockets-staging

tail -f app.log | slip-sockets publish logs - --lines

slip-sockets publish lobby "hello all" --keep-count 100 --keep-seconds 3600

slip-sockets publish --user ann "hello on all your devices\""""


def publish(
    channel: Annotated[
        str, typer.Argument(metavar="CHANNEL", help="Its subscribers receive the text. Left out with --user.")
    ],
    text: Annotated[
        str | None,
        typer.Argument(
            metavar="TEXT",
            help="The text; - reads it from stdin, without the newline at its end.",
            show_default=False,
        ),
    ] = None,
    user: UserOption = None,
    id_: Annotated[
        str, typer.Option("--id", help="The same id on the same channel within five minutes is delivered once.")
    ] = "",
    keep_count: Annotated[
        int | None,
        typer.Option("--keep-count", help="Keep the text until this number of newer ones are kept, 1 to 1,000."),
    ] = None,
    keep_seconds: Annotated[
        int | None, typer.Option("--keep-seconds", help="At most this long, 1 to 604,800 seconds.")
    ] = None,
    lines: Annotated[bool, typer.Option("--lines", help="With -: each line is a text, sent when it arrives.")] = False,
    stack: StackOption = "",
    outputs: OutputsOption = None,
    dev: DevOption = False,
    control_api: ControlApiOption = "",
    jwt_secret: SecretOption = "",
    as_json: JsonOption = False,
) -> None:
    """Send a text to all subscribers of a channel, or to all connections of a user, and print how many there were."""
    audience, text = _audience(channel, text, user)
    if lines and (text != "-" or id_):
        raise InvalidSettings(["--lines reads texts from stdin: give - as the text, and no --id"])
    keep = _keep(keep_count, keep_seconds)
    with open_publisher(control_api, stack, outputs, jwt_secret, dev=dev) as publisher:
        if not lines:
            report = publisher.publish_text(audience.channel, text_or_stdin(text), message_id=id_ or None, keep=keep)
            if as_json:
                print_json(audience.document(report))
            else:
                typer.echo(audience.line(report))
            return
        for line in lines_of_stdin():
            report = publisher.publish_text(audience.channel, line, keep=keep)
            if as_json:
                typer.echo(msgspec.json.encode(audience.document(report)).decode())
            else:
                typer.echo(audience.line(report))


def _audience(channel: str, text: str | None, user: str | None) -> tuple[Audience, str]:
    """With --user the only argument is the text, which stands where the channel would."""
    if user is not None:
        if text is not None:
            raise InvalidSettings(["--user takes the place of the channel: give the text alone"])
        return Audience.of("", user), channel
    if text is None:
        raise InvalidSettings(["publish needs a channel and a text, or --user and a text"])
    return Audience(channel), text


def _keep(count: int | None, seconds: int | None) -> Keep | None:
    if count is None and seconds is None:
        return None
    if count is None or seconds is None:
        raise InvalidSettings(["--keep-count and --keep-seconds belong together: give both"])
    return Keep(count, seconds)
