"""A stage is deployed anew while it is used; in the end all is destroyed. On a deployment of its own.

Each test deploys to staging the version that it begins with, unless an earlier test has left it so.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from slip_sockets import ControlApiRefused, ControlApiUnavailable
from slip_sockets.grip.tokens import grip_url

from .backend import ChatBackend, open_chat
from .deployment import PRODUCTION, SECRET, STACKS, STAGING, Deployment, not_deployed
from .grip import grip_backend, grip_conversation
from .patience import PATIENCE_S, until
from .queues import inbound
from .staging import DEPLOY_STAGING, NEW_SECRET, Staging, Version, denied
from .traffic import connected

pytestmark = pytest.mark.e2e

TAKEN = (f"{STAGING}-control", "dynamodb:Query")
"""The role and the action that a test takes from it."""

FIRST = Version(SECRET, has_moved=False, inbound="ordered")
BOTH_SECRETS = Version(NEW_SECRET, previous_secrets=SECRET)
BROKEN = Version(NEW_SECRET, worker_starts=False)
MENDED = Version(NEW_SECRET)


@pytest.fixture(scope="module")
def backend() -> Iterator[ChatBackend]:
    with ChatBackend(SECRET) as backend:
        yield backend


@pytest.fixture(scope="module")
def deployment(backend: ChatBackend, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Both stages."""
    with not_deployed(tmp_path_factory.mktemp("project"), backend.url) as deployment:
        deployment.deploy_both()
        yield deployment


@pytest.fixture(scope="module")
def staging(deployment: Deployment, backend: ChatBackend) -> Iterator[Staging]:
    with ChatBackend(NEW_SECRET) as moved:
        yield Staging(deployment, backend, moved, FIRST)


def test_a_new_secret_and_a_new_target_refuse_no_client(
    deployment: Deployment, staging: Staging, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The steps of docs/security.md: the backends accept both secrets; then the deploy; then publishers change. Texts,
    which came in order, come directly from then on."""
    staging.become(FIRST)
    monkeypatch.setattr(staging.first, "previous_secrets", [NEW_SECRET])
    monkeypatch.setattr(staging.moved, "previous_secrets", [SECRET])
    before, refused, requests = deployment.outputs, staging.first.refused, staging.moved.requests
    variables = staging.variables
    with staging.traffic(SECRET) as traffic:
        staging.deploy(BOTH_SECRETS)
        # By now new functions sign. A publisher that changes meets one that knows both, and so does one that has not.
        with staging.publisher(NEW_SECRET) as publisher:
            assert publisher.publish_text("a-channel", "x") is not None
    assert min(traffic.done[name] for name in ("visits", "texts", "publishes")) >= 3
    assert staging.moved.requests > requests
    assert (staging.first.refused - refused, staging.moved.refused) == (0, 0)
    assert staging.secrets_of(staging.variables) == [NEW_SECRET, SECRET]
    assert staging.secrets_of(variables) == [SECRET]  # what is left of the version before finds what it knows
    staging.plan()
    after = deployment.outputs
    assert after[STAGING] == before[STAGING] | {"targetUrl": staging.moved.url}
    assert after[PRODUCTION] == before[PRODUCTION]


def test_the_old_secret_goes_and_a_broken_worker_comes(staging: Staging) -> None:
    """A deploy with a defect: the worker does not start. Sockets and publishers do not notice."""
    staging.become(BOTH_SECRETS)
    refused = staging.moved.refused
    with staging.traffic(NEW_SECRET) as traffic:
        staging.deploy(BROKEN)
    assert min(traffic.done[name] for name in ("visits", "texts", "publishes")) >= 3
    assert staging.moved.refused == refused
    with staging.publisher(SECRET) as publisher, pytest.raises(ControlApiRefused):
        publisher.publish_text("a-channel", "x")
    assert "a defect" in staging.invoke_worker()["Payload"].read().decode()


def test_rolling_back_does_what_the_broken_worker_left(staging: Staging) -> None:
    staging.become(BROKEN)
    with open_chat(staging.moved) as chat, connected(staging.websocket_url, chat) as client:
        staging.deploy(MENDED)
        assert "FunctionError" not in staging.invoke_worker()
        assert client.recv(PATIENCE_S) == "welcome"


def test_a_function_is_denied_what_its_role_does_not_allow(deployment: Deployment, staging: Staging) -> None:
    staging.become(MENDED)
    before = denied(deployment)
    with (
        taken_from(deployment, *TAKEN),
        staging.publisher(NEW_SECRET) as publisher,
        pytest.raises(ControlApiUnavailable) as refusal,
    ):
        publisher.publish_text("a-channel", "x")
    assert "AccessDeniedException" in str(refusal.value.body)
    assert denied(deployment) - before == {TAKEN}


@contextmanager
def taken_from(deployment: Deployment, role: str, action: str) -> Iterator[None]:
    """For a while the role does not allow the action."""
    iam = deployment.client("iam")
    (policy,) = iam.list_role_policies(RoleName=role)["PolicyNames"]
    document = iam.get_role_policy(RoleName=role, PolicyName=policy)["PolicyDocument"]
    statements = [
        statement | {"Action": [allowed for allowed in statement["Action"] if allowed != action] or "sts:Nothing"}
        for statement in document["Statement"]
    ]
    less = json.dumps(document | {"Statement": statements})
    iam.put_role_policy(RoleName=role, PolicyName=policy, PolicyDocument=less)
    try:
        yield
    finally:
        iam.put_role_policy(RoleName=role, PolicyName=policy, PolicyDocument=json.dumps(document))


def test_no_function_was_denied_anything_else(deployment: Deployment) -> None:
    assert denied(deployment) <= {TAKEN}


def test_a_failed_deploy_leaves_the_outputs_file_whole(deployment: Deployment) -> None:
    before = (deployment.project / "cdk-outputs.json").read_bytes()
    with pytest.raises(AssertionError, match=r"tools\.stages deploy staging"):
        deployment.run(*DEPLOY_STAGING, AWS_ENDPOINT_URL="http://127.0.0.1:9")
    assert (deployment.project / "cdk-outputs.json").read_bytes() == before


def test_the_outputs_file_can_be_rebuilt_from_the_states(deployment: Deployment, staging: Staging) -> None:
    staging.become(MENDED)
    outputs = deployment.project / "cdk-outputs.json"
    before, text = deployment.outputs, outputs.read_text()
    try:
        outputs.write_text("{}")
        assert "cdk-outputs.json: " in deployment.run("python", "-m", "tools.stages", "outputs")
        assert deployment.outputs == before
    finally:
        outputs.write_text(text)


def test_a_stage_speaks_grip_with_the_published_libraries(deployment: Deployment, staging: Staging) -> None:
    """The stage is changed in place: the same URLs, another protocol, other texts in the end."""
    staging.become(MENDED)
    url = grip_url(deployment.outputs[STAGING]["controlApi"], NEW_SECRET)
    with grip_backend(url) as target_url:
        staging.speak_grip(target_url)
        assert f"{deployment.outputs[STAGING]['gripUrl']}&key={NEW_SECRET}" == url
        grip_conversation(staging.websocket_url, url)
        wait_until_empty(deployment)


def wait_until_empty(deployment: Deployment) -> None:
    """Wait until the backend has had the end of each connection, and no row is left."""
    asyncio.run(until(lambda: deployment.connections(STAGING) == [] and inbound(deployment, STAGING).waiting == 0))


def test_a_refused_destroy_of_production_changes_nothing(deployment: Deployment) -> None:
    """The make target refuses before `cdktf` starts; `cdktf destroy` by hand fails when Terraform plans.

    It may lose the end of what Terraform writes, and with it the reason."""
    before, state = everything(deployment), deployment.project / f"terraform.{PRODUCTION}.tfstate"
    content = state.read_bytes()
    for command, reason in (
        (("python", "-m", "tools.stages", "destroy", "production", "--auto-approve"), "nothing was destroyed"),
        (("node_modules/.bin/cdktf", "destroy", PRODUCTION, "--auto-approve"), "Invoking Terraform CLI failed"),
    ):
        with pytest.raises(AssertionError, match="ended with"):
            deployment.run(*command)
        assert reason in deployment.printed[-1]
        assert everything(deployment) == before
    with pytest.raises(AssertionError, match=r"e2e-sockets-Channels and e2e-sockets-Connections are still protected"):
        deployment.run(
            *("python", "-m", "tools.stages", "destroy", "production", "--auto-approve"), DELETION_PROTECTION="false"
        )
    assert everything(deployment) == before
    assert state.read_bytes() == content


def test_destroy_leaves_nothing(deployment: Deployment) -> None:
    command = ("python", "-m", "tools.stages", "deploy", "production", "--auto-approve")
    deployment.run(*command, PRODUCTION_DELETION_PROTECTION="false")
    deployment.run("python", "-m", "tools.stages", "destroy", "staging", "--auto-approve")
    assert deployment.outputs.keys() == {PRODUCTION}
    command = ("python", "-m", "tools.stages", "destroy", "production", "--auto-approve")
    deployment.run(*command, PRODUCTION_DELETION_PROTECTION="false")
    assert deployment.outputs == {}
    for stack in STACKS:
        state = json.loads((deployment.project / f"terraform.{stack}.tfstate").read_text())
        assert state["resources"] == []
    assert everything(deployment) == {name: [] for name in everything(deployment)}


def everything(deployment: Deployment) -> dict[str, Any]:
    """Return what exists in the account."""
    return {
        "alarms": deployment.client("cloudwatch").describe_alarms()["MetricAlarms"],
        "apis": deployment.client("apigatewayv2").get_apis()["Items"],
        "dashboards": deployment.client("cloudwatch").list_dashboards()["DashboardEntries"],
        "functions": deployment.client("lambda").list_functions()["Functions"],
        "groups": deployment.client("logs").describe_log_groups()["logGroups"],
        "mappings": deployment.client("lambda").list_event_source_mappings()["EventSourceMappings"],
        "queues": deployment.client("sqs").list_queues().get("QueueUrls", []),
        "roles": deployment.client("iam").list_roles()["Roles"],
        "secrets": deployment.client("secretsmanager").list_secrets(IncludePlannedDeletion=True)["SecretList"],
        "subscriptions": deployment.client("sns").list_subscriptions()["Subscriptions"],
        "tables": deployment.client("dynamodb").list_tables()["TableNames"],
        "topics": deployment.client("sns").list_topics()["Topics"],
    }
