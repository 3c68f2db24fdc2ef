"""Kills a function at each of its calls, and what the tests of that have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..functions.conftest import event
from .world import World

ME = "AAAA1234AAAA123="
ME_AGAIN = "AAAA1234AAAA124="
OTHERS = [f"BBBB1234BBBB12{number}=" for number in range(4)]


def at_each_call(
    crashing: World,
    prepare: Callable[[], None],
    run: Callable[[int | None], Any],
    check: Callable[[str], None],
    *,
    is_concurrent: bool = False,
) -> list[str]:
    """Run once without a crash to learn the calls, then once for each call, with a crash before it; `check` each time.

    Return the calls, without those of a cold start. Where some are concurrent, a run may have fewer.
    """
    prepare()
    assert run(None) is not None
    calls = list(crashing.calls)
    assert calls
    check("whole")
    for number, call in enumerate(calls):
        where = f"killed at call {number} of {len(calls)}, {call}"
        crashing.clear()
        prepare()
        response = run(number)
        assert len(crashing.calls) == number or (is_concurrent and response), where
        crashing.check_lifetimes()
        check(where)
        crashing.check_lifetimes()
    return [call for call in calls if call != "GetSecretValue"]


def firsts(texts: list[str]) -> list[str]:
    return list(dict.fromkeys(texts))


def repeated_at_most_once(texts: list[str]) -> bool:
    return all(texts.count(text) <= 2 for text in texts)


def ours(name: str, connection_id: str = ME) -> Any:
    payload = event(name)
    payload["requestContext"]["connectionId"] = connection_id
    return payload


def text(connection_id: str, data: str) -> dict[str, Any]:
    return {"type": "TEXT", "connectionId": connection_id, "data": data}


def publish(data: str, **more: Any) -> dict[str, Any]:
    return {"type": "PUBLISH_TEXT", "channelId": "lobby", "data": data, **more}
