"""The same backend, clients and publishers behind Pushpin and behind the development server, scene by scene.

What is seen must be the same, but for what the rows of the table in docs/grip.md say that a scene names.
"""

from __future__ import annotations

import copy

import aiohttp
import pytest

from slip_sockets.grip.handshake import FEATURES

from ..docs.markdown import ROOT
from ..grip.backend import GripScript
from .content import CONTENT
from .differences import Row
from .scenes import Scene, reply
from .sides import Seen, Side, Stage
from .tables import SCENES as TABLES
from .timers import SEQUENCES, TIMERS

SCENES = {
    **TABLES,
    **{f"content: {name}": each for name, each in CONTENT.items()},
    **{f"timer: {name}": each for name, each in TIMERS.items()},
    **{f"sequence: {name}": each for name, each in SEQUENCES.items()},
}

pytestmark = pytest.mark.pushpin
in_one_loop = pytest.mark.asyncio(loop_scope="module")


async def seen(side: Side, scene: Scene, backend: GripScript, session: aiohttp.ClientSession) -> Seen:
    stage = Stage(side, backend, session)
    try:
        await scene(stage)
    finally:
        await stage.finish()
    return stage.seen


@in_one_loop
@pytest.mark.parametrize(("scene", "rows"), [(scene, rows) for scene, *rows in SCENES.values()], ids=list(SCENES))
async def test_same_is_seen_behind_both(
    scene: Scene, rows: list[Row], backend: GripScript, session: aiohttp.ClientSession, theirs: Side, ours: Side
) -> None:
    expected = await seen(theirs, scene, backend, session)
    for row, apply in rows:
        before = copy.deepcopy(expected)
        apply(expected)
        assert expected != before, f"{row} makes no difference"
    found = await seen(ours, scene, backend, session)
    assert differences(found, expected) == []


def differences(found: Seen, expected: Seen) -> list[str]:
    ours, theirs = found.parts(), expected.parts()
    names = {**theirs, **ours}
    return [
        f"{name}: {theirs.get(name)}, ours {ours.get(name)}" for name in names if theirs.get(name) != ours.get(name)
    ]


@in_one_loop
async def test_features_are_pushpins_but_for_sessions_and_links(
    backend: GripScript, session: aiohttp.ClientSession, theirs: Side
) -> None:
    await seen(theirs, reply(), backend, session)
    theirs_only = set(backend.posts[0].headers["Grip-Feature"].split(", ")) - set(FEATURES.split(", "))
    assert theirs_only == {"status", "session", "link:next"}


def test_rows_are_those_of_the_page() -> None:
    page = (ROOT / "docs/grip.md").read_text()
    named = {name for _, *rows in SCENES.values() for name, _ in rows}
    assert [name for name in sorted(named) if f"\n| {name} |" not in page] == []
