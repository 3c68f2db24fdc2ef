"""PROVISIONED_CONCURRENCY is changed while staging is used, on a deployment of its own.

Each test deploys the version that it begins with, unless an earlier test has left it so.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from .backend import ChatBackend
from .deployment import SECRET, not_deployed
from .staging import NEW_SECRET, Staging, Version, denied

pytestmark = pytest.mark.e2e

NEWEST_SECRET = "a-third-e2e-secret-of-more-than-32-bytes"
PLAIN = Version(NEW_SECRET)
KEPT_WARM = replace(PLAIN, kept_warm=1)
CHANGED = {
    "on": KEPT_WARM,
    "another number with other code, texts in order": replace(KEPT_WARM, kept_warm=2, release=1, inbound="ordered"),
    "another number, texts directly": replace(KEPT_WARM, kept_warm=1, release=1),
    "another secret": replace(KEPT_WARM, kept_warm=2, release=1, jwt_secret=NEWEST_SECRET, previous_secrets=NEW_SECRET),
    "off": replace(PLAIN, release=1, jwt_secret=NEWEST_SECRET, previous_secrets=NEW_SECRET),
    "on with other code": replace(KEPT_WARM, release=2, jwt_secret=NEWEST_SECRET, previous_secrets=NEW_SECRET),
    "off with other code and another secret": PLAIN,
}
"""Deploys with PROVISIONED_CONCURRENCY, one after the other. Two of them change INBOUND too."""


@pytest.fixture(scope="module")
def staging(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Staging]:
    with (
        ChatBackend(SECRET) as first,
        ChatBackend(NEW_SECRET) as moved,
        not_deployed(tmp_path_factory.mktemp("project"), first.url) as deployment,
    ):
        yield Staging(deployment, first, moved)


@pytest.mark.parametrize("change", CHANGED)
def test_provisioned_concurrency_and_inbound_are_changed_and_no_client_notices(
    staging: Staging, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    versions = [PLAIN, *CHANGED.values()]
    index = list(CHANGED).index(change)
    staging.become(versions[index])
    monkeypatch.setattr(staging.moved, "previous_secrets", [NEWEST_SECRET])
    refused = staging.moved.refused
    with staging.traffic(NEW_SECRET) as traffic:
        staging.deploy(versions[index + 1])
    assert min(traffic.done[name] for name in ("visits", "texts", "publishes")) >= 3
    assert staging.moved.refused == refused
    assert sum(staging.provisioned) == versions[index + 1].kept_warm
    staging.plan()


def test_no_function_was_denied_anything(staging: Staging) -> None:
    assert denied(staging.deployment) == set()
