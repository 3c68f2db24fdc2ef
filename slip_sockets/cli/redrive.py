"""`slip-sockets redrive`."""

from __future__ import annotations

import asyncio
import re
from contextlib import AbstractAsyncContextManager, aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..client.outputs import DEPLOYED_OUTPUTS, read_outputs
from ..gateway.errors import Unavailable
from ..protocol.errors import InvalidSettings
from .deployment import DEFAULT_STACK, JsonOption, complete_stack
from .exit_codes import fail
from .printing import print_json

if TYPE_CHECKING:
    from .dead_letters import DeadLetter, DeadLetters

_STACK = re.compile(r"[A-Za-z0-9_-]{1,62}")
"""Its queues' names have 80 characters.
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-queues.html"""

EXAMPLES = """Examples:

slip-sockets redrive --stack slip-sockets-staging --dry-run

slip-sockets redrive --region eu-central-1 --json"""


def redrive(
    stack: Annotated[
        str,
        typer.Option(
            envvar="STACK_NAME",
            help="The deployment; staging's is slip-sockets-staging.",
            autocompletion=complete_stack,
        ),
    ] = DEFAULT_STACK,
    outputs: Annotated[
        Path, typer.Option(help="File in which the deployment has an entry: its region is taken from there.")
    ] = DEPLOYED_OUTPUTS,
    region: Annotated[str, typer.Option(help="Region of the deployment; then no outputs file is needed.")] = "",
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Only list them: the first ten of each message group, since SQS hides the others."
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """List the dead letters of a deployment, messages that failed for 6 hours, and put them back into the queue.

    They keep their order. Of a message that was done in part only the rest goes back. Unreadable ones stay.
    """
    from .dead_letters import open_dead_letters  # needs boto3, which other commands do without

    found: list[DeadLetter] = []
    totals: list[int] = []
    problem = None
    if not _STACK.fullmatch(stack):
        raise InvalidSettings([f"the stack {stack!r} is not 1 to 62 letters, digits, hyphens and underscores"])
    try:
        region = region or _region_of(stack, outputs)
        opening = open_dead_letters(stack, region)
        asyncio.run(_redrive(opening, found, totals, dry_run=dry_run, is_quiet=as_json))
    except Unavailable as error:
        problem = str(error)
    except KeyboardInterrupt:
        problem = "stopped"
    total = sum(totals)
    unreadable = sum(not letter.is_readable for letter in found)
    sent = 0 if dry_run else len(found) - unreadable
    if as_json:
        document: dict[str, Any] = {"stack": stack, "dryRun": dry_run, "approximateTotal": total, "sent": sent}
        document |= {"unreadable": unreadable, "deadLetters": found}
        print_json(document)
    elif problem is None:
        for line in _summary(stack, len(found), unreadable, total, dry_run=dry_run):
            typer.echo(line)
    if problem is not None:
        how = "Repeat the command" if dry_run else f"{sent} were sent again; repeat the command for the others"
        fail(f"{problem}. {how}")


async def _redrive(
    opening: AbstractAsyncContextManager[DeadLetters],
    found: list[DeadLetter],
    totals: list[int],
    *,
    dry_run: bool,
    is_quiet: bool,
) -> None:
    """Note letters in `found` and the total in `totals` as they come: the command may be stopped."""
    async with opening as letters:
        totals.append(await letters.count())
        async with aclosing(letters.peek() if dry_run else letters.redrive()) as listed:
            async for letter in listed:
                found.append(letter)
                if not is_quiet:
                    typer.echo(_line(letter))


_KINDS = {
    "close_notice": "close notice",
    "fan_out": "fan-out",
    "fan_out_chunk": "chunk",
    "held": "held publish",
    "sweep": "later look",
    "timer_due": "timer",
}


def _line(letter: DeadLetter) -> str:
    parts = {
        "connection %s": letter.connection_id,
        "channel %r": letter.channel,
        "%d events": letter.events,
        "%d connections": letter.connections,
        "message %s": None if letter.is_readable else letter.message_id,
    }
    subject = ", ".join(text % value for text, value in parts.items() if value is not None)
    when = letter.sent_at.strftime("%Y-%m-%d %H:%M:%SZ")
    rest = ", the rest of it" if letter.is_rest else ""
    return f"{when}  {letter.attempts:3} attempts  {_KINDS.get(letter.kind, letter.kind):12}  {subject}{rest}"


def _summary(stack: str, found: int, unreadable: int, total: int, *, dry_run: bool) -> list[str]:
    dead, deferred = f"{stack}-dead-letters.fifo", f"{stack}-deferred.fifo"
    if not found and not total:
        return [f"{dead} is empty."]
    lines = [f"{found} found in {dead}." if dry_run else f"{found - unreadable} sent again, to {deferred}."]
    if unreadable:
        lines.append(f"{unreadable} cannot be read: left in {dead}.")
    if total > found and dry_run:
        lines.append(f"SQS counts about {total}. It hides all but the first ten of a message group, and those that")
        lines.append("another run has received. Without --dry-run the command reaches all of a group.")
    elif total > found:
        lines.append(
            f"SQS counted about {total}. Another run may have received the others; it has them 5 minutes at most."
        )
    return lines


def _region_of(stack: str, path: Path) -> str:
    """Return the region of a deployment. Raises InvalidSettings."""
    instead = "Deploy first, or choose the file with --outputs, or give --region"
    region = read_outputs(path, stack, instead=instead).region
    if not region:
        raise InvalidSettings([f"{path} has no region of {stack!r}. Give it with --region"])
    if region == "local":
        raise InvalidSettings([f"{path} is of a development server, which keeps its dead letters in memory"])
    return region
