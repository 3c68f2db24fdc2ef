"""From what was seen to what it means: a function for each measurement, over plain values."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from statistics import median

from .findings import Finding

THROTTLE_RATE, THROTTLE_BURST = 200, 100
"""Of a staging stage: stacks/settings.py."""
MAX_THAW_S = 0.3
"""Slower than the median by more than this is a repeated call: a new TLS connection takes a fifth of it."""
_ID = re.compile(r"[A-Za-z0-9_-]{15}=")


def plan(changes: Sequence[str]) -> Finding:
    if not changes:
        return Finding("no changes")
    return Finding(
        f"{len(changes)} changes: {', '.join(changes[:5])}",
        "the provider reads back something else than it wrote: name it in `lifecycle.ignore_changes`, or set it",
    )


def inbound_order(back: Sequence[int], closed: str, expected: tuple[int, str]) -> Finding:
    """`back` are the numbers of texts as they came back, `closed` the code and reason of their CLOSE."""
    overtaken = sum(later < earlier for earlier, later in pairwise(back))
    seen = f"{len(back)} texts, {overtaken} times one came before its forerunner; CLOSE with {closed}"
    if overtaken:
        return Finding(seen, "API Gateway does not hand over the frames of a socket in order: docs/inbound.md")
    if closed != " ".join(map(str, expected)):
        return Finding(seen, "CLOSE has no code or reason: mapping templates do not know them")
    return Finding(seen)


def pings(seen: Mapping[str, str], expected: Mapping[str, str]) -> Finding:
    """Both have what comes back for each text."""
    text = ", ".join(f"{sent}: {back}" for sent, back in seen.items())
    wrong = [sent for sent, back in seen.items() if back != expected[sent]]
    if wrong:
        return Finding(
            text, f"{', '.join(wrong)}: see the route ping of stacks/websocket_api.py, and apigateway/routes.py"
        )
    return Finding(text)


def connection_ids(ids: Sequence[str]) -> Finding:
    lengths = sorted({len(id_) for id_ in ids})
    others = [id_ for id_ in ids if not _ID.fullmatch(id_)]
    seen = f"{len(ids)} ids of {lengths} characters, {len(others)} of another form, {len(ids) - len(set(ids))} doubled"
    if others or len(set(ids)) < len(ids):
        return Finding(seen, f"ids look like {others[:3]}: slip_sockets/apigateway/ must accept them")
    return Finding(seen)


def refusals(seen: Mapping[str, int], expected: Mapping[str, int]) -> Finding:
    wrong = {case: f"{status}, not {expected[case]}" for case, status in seen.items() if status != expected[case]}
    text = ", ".join(f"{case}: {status}" for case, status in seen.items())
    if wrong:
        return Finding(text, f"clients see other statuses than docs/protocol.md says: {wrong}")
    return Finding(text)


def cold_starts(clients: int, refused: Mapping[str, int]) -> Finding:
    text = ", ".join(f"{count} with {status}" for status, count in sorted(refused.items())) or "none"
    others = {status: count for status, count in refused.items() if status != "429"}
    seen = f"{clients} clients within a second; refused: {text}"
    if others:
        return Finding(seen, "cold functions fail: the log of the websocket function says why (secret? concurrency?)")
    return Finding(seen)


def throttle(posted: int, seconds: float, refused: int, failed: int) -> Finding:
    """Decide only where more was posted than the stage's throttle would let through."""
    let_through = THROTTLE_BURST + THROTTLE_RATE * seconds
    seen = f"{posted} posts in {seconds:.1f} s: {refused} with 429, {failed} failed otherwise"
    if refused:
        change = "a fan-out of staging runs at 200/s, of production at 2,000/s: raise the throttles of websocket_api.py"
        return Finding(seen, f"the stage's throttles hold for @connections too: {change}")
    if posted < 1.3 * let_through:
        return Finding(seen, f"too slow to tell: {let_through:.0f} would be let through; run it nearer to the region")
    return Finding(seen)


def empty_post(status: int) -> Finding:
    if status == 200:
        return Finding("200")
    return Finding(str(status), "API Gateway refuses an empty text: events.py must refuse it first, with a reason")


def largest_texts(seen: Mapping[str, str], expected: Mapping[str, str]) -> Finding:
    text = ", ".join(f"{case}: {result}" for case, result in seen.items())
    if seen == expected:
        return Finding(text)
    return Finding(text, "docs/limits.md, slip_sockets/apigateway/limits.py and the development server differ")


def environment(seen: Mapping[str, object], expected: Mapping[str, object]) -> Finding:
    text = ", ".join(f"{name} {value}" for name, value in seen.items())
    wrong = [name for name, value in expected.items() if not str(seen.get(name)).startswith(str(value))]
    if wrong:
        return Finding(text, f"{', '.join(wrong)} not as deployed: see stacks/function_package.py")
    return Finding(text)


def first_call(latencies_s: Sequence[float], after_silence_s: float, minutes: float) -> Finding:
    usual = median(latencies_s)
    seen = f"{after_silence_s * 1000:.0f} ms after {minutes:g} min of silence; median {usual * 1000:.0f} ms"
    if after_silence_s - usual > MAX_THAW_S:
        return Finding(
            seen,
            "a dead connection was used first, or the function started anew (coldStart in its log): the idle limit of "
            "slip_sockets/aws/client.py is too long",
        )
    return Finding(seen)


def fill(points: Mapping[str, int]) -> Finding:
    """`points` has the number of points that each alarm's expression brought, without one of its metrics."""
    seen = ", ".join(f"{name}: {count} points" for name, count in points.items()) or "no alarm has FILL"
    without = [name for name, count in points.items() if not count]
    if without:
        return Finding(
            seen, f"FILL brings nothing for a series without points: {', '.join(without)} stay in their state for ever"
        )
    return Finding(seen)


def emf(samples: float, seconds: float) -> Finding:
    if samples:
        return Finding(f"{samples:g} samples after {seconds:.0f} s")
    return Finding(
        f"none after {seconds:.0f} s", "CloudWatch makes no metrics of our lines: all alarms on them are silent"
    )


def failing_message_age(minutes: float, sqs_s: float | None, ours_s: float | None, alarms: Sequence[str]) -> Finding:
    def shown(age: float | None) -> str:
        return "no points" if age is None else f"{age:.0f} s"

    in_alarm = ", ".join(alarms) or "none"
    seen = f"largest age after {minutes:g} min: SQS {shown(sqs_s)}, DeferredAge {shown(ours_s)}; in ALARM: {in_alarm}"
    enough_s = 0.5 * 60 * minutes
    if ours_s is None or ours_s < enough_s:
        return Finding(seen, "our own metric does not see a message that fails: no alarm goes off for it")
    if sqs_s is not None and sqs_s >= enough_s:
        return Finding(seen, "SQS's metric sees it too: harmless, one of the two alarms would do")
    return Finding(seen)


def slowed_by_failures(before_s: Sequence[float], during_s: Sequence[float], concurrency: Sequence[float]) -> Finding:
    before, during = median(before_s), median(during_s)
    seen = (
        f"a deferred text took {before:.2f} s before, {during:.2f} s beside failing groups; "
        f"ConcurrentExecutions of deliver: {', '.join(f'{value:g}' for value in concurrency) or 'no points'}"
    )
    if during > 3 * before + 0.5:
        return Finding(seen, "a backend that is down slows fan-outs: CLOSE needs a queue of its own")
    return Finding(seen)


def idle_close(seconds: float, code: int | None) -> Finding:
    seen = f"closed after {seconds:.0f} s with {code}"
    if code != 1001 or not 570 <= seconds <= 660:
        return Finding(seen, "docs/limits.md and the development server say 10 minutes and 1001")
    return Finding(seen)
