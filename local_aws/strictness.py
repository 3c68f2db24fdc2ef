"""How strict the local AWS is, where strictness costs time or where a test must be able to change AWS's clock."""

from __future__ import annotations

from dataclasses import dataclass

KEY_LIFETIME_S = 12 * 3600.0


@dataclass(frozen=True, slots=True)
class Strictness:
    """What is not listed here is always on: signatures, for example, cost 0.06 ms for each call."""

    clock_shift_s: float = 0.0
    """The local AWS's clock is ahead of this machine's by this. It refuses signatures of more than five minutes ago or
    ahead. Costs nothing."""
    key_lifetime_s: float = KEY_LIFETIME_S
    """Lifetime of a function's key. Lambda starts another environment before the end of it; here none runs so long.
    Costs nothing."""
    request_rate: float = 10_000
    request_burst: float = 5_000
    """What API Gateway takes a second, and at once, of the account in a region: events of all routes, requests to HTTP
    APIs and @connections calls together. Costs nothing.
    https://docs.aws.amazon.com/apigateway/latest/developerguide/limits.html"""
    connect_rate: float = 500
    """New connections a second, of all WebSocket APIs of the account in a region. Costs nothing.
    https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-execution-service-websocket-limits-table.html"""
    concurrency: int = 1_000
    """Events of all functions at once; a new account has 10. Costs nothing.
    https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html"""
    freeze: bool = False
    """Whether a function's processes stop between events, and its idle connections to this AWS are reset meanwhile.
    Costs two signals for each event, and new connections.
    https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html"""
    iam_delay_s: float = 0.0
    """How long after a change a role's policies count as before, and how old a function's role must be. Each deploy of
    a new role takes longer by it.
    https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot.html#troubleshoot_general_eventual-consistency"""
    alias_move_s: float = 0.0
    """How long an alias with provisioned concurrency has routing weights after it has moved; in AWS about a minute."""
    disconnect_codes: bool = True
    """Whether `$context` of a mapping template has disconnectStatusCode and disconnectReason, as the event of a Lambda
    function has. AWS does not document it. Costs nothing."""
    deploy_delay_s: float = 0.0
    """How long after a change the routes of a stage with auto-deploy are as before. Tests that use them at once would
    fail."""
