"""`slip-sockets token`: the JSON Web Tokens of requests to a backend and to the control API."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

import jwt
import typer

from ..protocol.errors import InvalidSettings, InvalidToken
from ..protocol.tokens import LIFETIME_S, Audience, mint, secret_problem, verify
from .command import Command
from .deployment import JsonOption, SecretOption, needed_secret
from .exit_codes import WRONG
from .printing import print_json, text_or_stdin

MINT_EXAMPLES = """Examples:

curl -H "Authorization: Bearer $(slip-sockets token mint)" -d '{"events": []}' http://127.0.0.1:8787/control

slip-sockets token mint --for backend --lifetime 3600"""
INSPECT_EXAMPLES = """Examples:

slip-sockets token inspect eyJhbGciOiJIUzI1NiIs...

pbpaste | slip-sockets token inspect -"""

MAX_LIFETIME_S = 1e9
"""Some 31 years. Far beyond it, times are no longer numbers that JSON's readers take."""

token = typer.Typer(no_args_is_help=True, rich_markup_mode="rich")


class For(StrEnum):
    CONTROL = "control"
    BACKEND = "backend"


_AUDIENCES: dict[For, Audience] = {For.CONTROL: "ControlEvent", For.BACKEND: "WebSocketEvent"}


@token.command("mint", cls=Command, epilog=MINT_EXAMPLES)
def mint_token(
    for_: Annotated[For, typer.Option("--for", help="Its audience: the control API, or a backend.")] = For.CONTROL,
    lifetime: Annotated[float, typer.Option(min=1, max=MAX_LIFETIME_S, help="Seconds until it expires.")] = LIFETIME_S,
    jwt_secret: SecretOption = "",
    as_json: JsonOption = False,
) -> None:
    """Print a new token, signed with JWT_SECRET."""
    now = time.time()
    minted = mint(_AUDIENCES[for_], needed_secret(jwt_secret), now=now, lifetime_s=lifetime)
    if as_json:
        print_json({"token": minted, "audience": _AUDIENCES[for_], "expiresAt": int(now) + int(lifetime)})
    else:
        typer.echo(minted)


@token.command("inspect", cls=Command, epilog=INSPECT_EXAMPLES)
def inspect_token(
    text: Annotated[
        str, typer.Argument(metavar="TOKEN", help="The token, with or without `Bearer `; - reads it from stdin.")
    ],
    jwt_secret: SecretOption = "",
    as_json: JsonOption = False,
) -> None:
    """Print a token's claims, and whether it is valid. The exit code is 2 if it is not, or cannot be checked."""
    given = text_or_stdin(text).strip()
    encoded = given.split()[-1] if given else ""
    try:
        decoded = jwt.decode_complete(encoded, options={"verify_signature": False})
    except (jwt.InvalidTokenError, ValueError, RecursionError) as error:
        raise InvalidSettings([f"that is not a JSON Web Token: {error}"]) from error
    claims: dict[str, Any] = decoded["payload"]
    problem = _problem(encoded, claims, jwt_secret)
    if as_json:
        print_json({"header": decoded["header"], "claims": claims, "valid": problem is None, "problem": problem})
    else:
        for name, value in claims.items():
            typer.echo(f"{name:10} {value}{_meaning(name, value)}")
        typer.echo(f"{'algorithm':10} {decoded['header'].get('alg')}")
        typer.echo(f"{'valid':10} {'yes' if problem is None else f'no: {problem}'}")
    if problem is not None:
        raise typer.Exit(WRONG)


def _problem(encoded: str, claims: dict[str, Any], jwt_secret: str) -> str | None:
    """Return why the token's audience must refuse it, None if it is valid."""
    if not jwt_secret:
        return "the signature was not checked: JWT_SECRET is not set"
    if problem := secret_problem(jwt_secret):
        return f"the signature was not checked: JWT_SECRET {problem}"
    audience = next((known for known in _AUDIENCES.values() if claims.get("aud") == known), None)
    if audience is None:
        return f"its audience is neither {' nor '.join(_AUDIENCES.values())}"
    try:
        verify(encoded, audience, [jwt_secret])
    except InvalidToken as error:
        return str(error)
    return None


def _meaning(name: str, value: Any) -> str:
    if name == "aud":
        return {"ControlEvent": "  for the control API", "WebSocketEvent": "  for a backend"}.get(str(value), "")
    if name not in ("iat", "exp", "nbf") or not isinstance(value, int | float):
        return ""
    try:
        when = datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    except (OverflowError, OSError, ValueError):
        return ""
    away_s = round(value - time.time())
    return f"  {when}, {f'in {away_s:,} s' if away_s >= 0 else f'{-away_s:,} s ago'}"
