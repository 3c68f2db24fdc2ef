"""A stage is deployed and changed under live traffic, in a local AWS that is as strict as it can be."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

import pytest

from local_aws import LocalAws, Strictness
from slip_sockets import ControlApiRefused

from ..local_aws.cloud import settings
from .backend import Chat, ChatBackend, open_chat
from .deployment import ALIAS_MOVE_S, MAX_ENVIRONMENTS, SECRET, Deployment, copy_of_the_project
from .patience import PATIENCE_S, PAUSE_S
from .staging import NEW_SECRET, Staging, Version, denied
from .traffic import connected

pytestmark = pytest.mark.e2e

STRICT = Strictness(
    request_rate=1_000,
    request_burst=500,
    connect_rate=50,
    concurrency=100,  # a machine with other work has more than a new account's 10 events under way
    freeze=True,
    iam_delay_s=2.0,
    deploy_delay_s=2.0,
    alias_move_s=ALIAS_MOVE_S,
)
ANSWER_S = 5.0
"""How long a client waits that may not get an answer at all."""
FIRST = Version(SECRET)
CHANGED = Version(NEW_SECRET, previous_secrets=SECRET, kept_warm=1, release=1)
"""Other code, another secret and PROVISIONED_CONCURRENCY in one deploy."""
CHANGED_AGAIN = Version(NEW_SECRET, release=2)


@pytest.fixture(scope="module")
def backend() -> Iterator[ChatBackend]:
    with ChatBackend(SECRET, [NEW_SECRET]) as backend:
        yield backend


@pytest.fixture(scope="module")
def staging(backend: ChatBackend, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Staging]:
    project = copy_of_the_project(tmp_path_factory.mktemp("project"))
    strict = replace(settings(max_environments=MAX_ENVIRONMENTS), strictness=STRICT)
    with LocalAws(strict) as aws:
        staging = Staging(Deployment(project, aws, backend.url), backend, backend)
        staging.deploy(FIRST)
        _wait_for_routes(staging, backend)
        yield staging


def _wait_for_routes(staging: Staging, backend: ChatBackend) -> None:
    """The stage deploys itself some seconds after the last change. Until then clients are let in without their OPEN,
    since a route $connect need not be there, and their texts are forbidden."""
    give_up_at = time.monotonic() + PATIENCE_S
    with open_chat(backend) as chat:
        while time.monotonic() < give_up_at:
            with connected(staging.websocket_url, chat) as client, suppress(TimeoutError):
                client.send("hi")
                while (answer := client.recv(ANSWER_S)) != "somebody: hi" and "Forbidden" not in answer:
                    pass
                if answer == "somebody: hi" and _takes_publishes(staging, chat):
                    return
            time.sleep(PAUSE_S)  # no event announces it, and connects are throttled
    raise AssertionError("the stages have no routes")


def _takes_publishes(staging: Staging, chat: Chat) -> bool:
    try:
        with staging.publisher(SECRET) as publisher:
            publisher.publish_text(chat.room, "hi")
    except ControlApiRefused:
        return False
    return True


def test_strictness_refuses_no_client_and_loses_no_close(staging: Staging, backend: ChatBackend) -> None:
    for version, secret in ((CHANGED, SECRET), (CHANGED_AGAIN, NEW_SECRET)):
        with staging.traffic(secret) as traffic:
            staging.deploy(version)
        assert min(traffic.done[name] for name in ("visits", "texts", "publishes")) >= 3
        assert sum(staging.provisioned) == version.kept_warm
        staging.plan()
    assert backend.refused == 0
    assert denied(staging.deployment) == set()
