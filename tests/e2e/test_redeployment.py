"""What changes in place, and what is left at the end. After `test_deployment.py`, on its deployment."""

from __future__ import annotations

import json
import shutil
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

from local_aws.permissions import matches
from slip_sockets import ControlApiRefused, ControlApiUnavailable, SlipSocketsPublisher

from .backend import LobbyBackend
from .deployment import PRODUCTION, ROOT, SECRET, STACKS, STAGING, Deployment

pytestmark = pytest.mark.e2e

NEW_SECRET = "another-e2e-secret-of-more-than-32-bytes"


@pytest.fixture(scope="module")
def moved(deployment: Deployment, backend: LobbyBackend) -> Iterator[LobbyBackend]:
    """Where staging's backend is from now on."""
    with LobbyBackend(NEW_SECRET, [SECRET]) as other:
        yield other
        deployment.target_url, deployment.jwt_secret = backend.url, SECRET


def deploy_staging(deployment: Deployment, previous_secrets: str = "") -> None:
    """With the make target's command: it keeps the other stage's entry, and leaves no file that holds the secret."""
    command = ("python", "-m", "tools.stages", "deploy", "staging", "--auto-approve")
    printed = deployment.run(*command, JWT_PREVIOUS_SECRETS=previous_secrets)
    files = [path for path in deployment.project.rglob("*") if path.is_file() and path.suffix != ".py"]
    assert deployment.project / f"terraform.{STAGING}.tfstate" in files
    assert [path for path in files if NEW_SECRET.encode() in path.read_bytes()] == []
    assert NEW_SECRET not in printed


def staging(deployment: Deployment, secret: str) -> SlipSocketsPublisher:
    return SlipSocketsPublisher.from_outputs(deployment.project / "cdk-outputs.json", stack=STAGING, jwt_secret=secret)


class Traffic:
    """Goes on until the `with` ends: one socket that speaks, visitors that come, speak and leave, a publisher.

    Each waits for what it asked for; whatever is refused, or does not come, is raised at the end.
    """

    def __init__(self, url: str, publisher: SlipSocketsPublisher) -> None:
        self.done: Counter[str] = Counter()
        self._url = url
        self._publisher = publisher
        self._stop = threading.Event()
        self._threads = ThreadPoolExecutor(3, "traffic")

    def __enter__(self) -> Traffic:
        self._running = [self._threads.submit(self._repeat, act) for act in (self._visit, self._publish)]
        self._running.append(self._threads.submit(self._stay))
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._threads.shutdown()
        for running in self._running:
            running.result()

    def _repeat(self, act: Callable[[], None]) -> None:
        while not self._stop.is_set():
            act()
            self.done[act.__name__] += 1

    def _publish(self) -> None:
        report = self._publisher.publish_text("lobby", "from outside")
        assert report is not None
        assert report.queued == 0

    def _visit(self) -> None:
        with self._connected() as client:
            self._say(client)

    def _stay(self) -> None:
        with self._connected() as client:
            self._repeat(lambda: self._say(client))

    def _connected(self) -> ClientConnection:
        return connect(self._url, open_timeout=60, proxy=None)

    def _say(self, client: ClientConnection) -> None:
        word = uuid.uuid4().hex
        client.send(word)
        while client.recv(60) != f"somebody: {word}":
            pass


def test_a_new_secret_and_a_new_target_refuse_nobody(
    deployment: Deployment, backend: LobbyBackend, moved: LobbyBackend
) -> None:
    """The steps of docs/security.md: the backends accept both secrets; then the deploy; then publishers change."""
    backend.previous_secrets = [NEW_SECRET]
    before, refused = deployment.outputs, backend.refused
    deployment.target_url, deployment.jwt_secret = moved.url, NEW_SECRET
    with Traffic(before[STAGING]["websocketUrl"], staging(deployment, SECRET)) as traffic:
        deploy_staging(deployment, previous_secrets=SECRET)
        # By now new functions sign. A publisher that changes meets one that knows both, and so does one that has not.
        assert staging(deployment, NEW_SECRET).publish_text("lobby", "x") is not None
    assert min(traffic.done["_visit"], traffic.done["_publish"], traffic.done["<lambda>"]) >= 3
    assert moved.told.qsize() > 0
    assert (backend.refused - refused, moved.refused) == (0, 0)
    backend.previous_secrets = []
    after = deployment.outputs
    assert after[STAGING] == before[STAGING] | {"targetUrl": moved.url}
    assert after[PRODUCTION] == before[PRODUCTION]


def test_the_old_secret_goes_and_a_broken_worker_comes(deployment: Deployment, moved: LobbyBackend) -> None:
    """A deploy with a defect: the worker does not start. Sockets and publishers do not notice."""
    moved.previous_secrets = []
    queue = deployment.project / "stacks" / "deferred_queue.py"
    patient = "VISIBILITY_TIMEOUT_S = 2 * DELIVER_TIMEOUT_S"
    assert patient in queue.read_text()
    queue.write_text(queue.read_text().replace(patient, "VISIBILITY_TIMEOUT_S = 15"))  # of what rests, less to wait for
    worker = deployment.project / "functions" / "deliver.py"
    worker.write_text(f'{worker.read_text()}\nraise RuntimeError("a defect")\n')
    with Traffic(deployment.outputs[STAGING]["websocketUrl"], staging(deployment, NEW_SECRET)) as traffic:
        deploy_staging(deployment)
    assert min(traffic.done["_visit"], traffic.done["_publish"], traffic.done["<lambda>"]) >= 3
    assert moved.refused == 0
    with pytest.raises(ControlApiRefused):
        staging(deployment, SECRET).publish_text("lobby", "x")
    answer = invoke_worker(deployment)
    assert "a defect" in answer["Payload"].read().decode()


def test_a_function_is_denied_what_its_role_does_not_allow(deployment: Deployment) -> None:
    """Until the next deploy, which mends the role."""
    iam, role = deployment.client("iam"), f"{STAGING}-control"
    (policy,) = iam.list_role_policies(RoleName=role)["PolicyNames"]
    document = iam.get_role_policy(RoleName=role, PolicyName=policy)["PolicyDocument"]
    for statement in document["Statement"]:
        statement["Action"] = [action for action in statement["Action"] if action != "dynamodb:Query"] or "sts:Nothing"
    iam.put_role_policy(RoleName=role, PolicyName=policy, PolicyDocument=json.dumps(document))
    sockets = staging(deployment, NEW_SECRET)
    with pytest.raises(ControlApiUnavailable) as refusal:
        sockets.publish_text("lobby", "x")
    assert "AccessDeniedException" in str(refusal.value.body)
    denied = {judgement.action for judgement in deployment.aws.judgements() if not judgement.allowed}
    assert denied == {"dynamodb:Query"}


def test_rolling_back_does_what_the_broken_worker_left(deployment: Deployment, moved: LobbyBackend) -> None:
    with connect(deployment.outputs[STAGING]["websocketUrl"], open_timeout=60, proxy=None) as client:
        shutil.copy2(ROOT / "functions" / "deliver.py", deployment.project / "functions" / "deliver.py")
        deploy_staging(deployment)
        assert "FunctionError" not in invoke_worker(deployment)
        assert client.recv(60) == "welcome"


def invoke_worker(deployment: Deployment) -> Any:
    """Run the worker with no message."""
    return deployment.client("lambda").invoke(FunctionName=f"{STAGING}-deliver", Payload=b'{"Records": []}')


def test_a_failed_deploy_leaves_the_outputs_file_whole(deployment: Deployment) -> None:
    before = (deployment.project / "cdk-outputs.json").read_bytes()
    with pytest.raises(AssertionError, match=r"tools\.stages deploy staging"):
        deployment.run(
            "python", "-m", "tools.stages", "deploy", "staging", "--auto-approve", AWS_ENDPOINT_URL="http://127.0.0.1:9"
        )
    assert (deployment.project / "cdk-outputs.json").read_bytes() == before


def test_the_outputs_file_can_be_rebuilt_from_the_states(deployment: Deployment) -> None:
    outputs = deployment.project / "cdk-outputs.json"
    before = deployment.outputs
    outputs.write_text("{}")
    assert "cdk-outputs.json: " in deployment.run("python", "-m", "tools.stages", "outputs")
    assert deployment.outputs == before


def test_the_roles_allow_what_was_used_and_nothing_else(deployment: Deployment) -> None:
    """By the whole suite: where a part of it is run, this fails. `tests/stacks` holds that both stages' are alike."""
    judgements = deployment.aws.judgements()
    denied = {(asked.principal.split("/")[1], asked.action) for asked in judgements if not asked.allowed}
    assert denied == {(f"{STAGING}-control", "dynamodb:Query")}  # which a test took from it
    for function in ("websocket", "control", "deliver"):
        role = f"{PRODUCTION}-{function}"
        policy = deployment.client("iam").get_role_policy(RoleName=role, PolicyName="function")["PolicyDocument"]
        used = [asked for asked in judgements if f":assumed-role/{role}/" in asked.principal]
        unused = [
            (action, resource)
            for statement in policy["Statement"]
            for action in statement["Action"]
            for resource in statement["Resource"]
            if not any(asked.action == action and matches(resource, asked.resource) for asked in used)
        ]
        assert unused == [], role


def test_destroy_leaves_nothing(deployment: Deployment) -> None:
    deployment.client("dynamodb").update_table(TableName=f"{PRODUCTION}-Connections", DeletionProtectionEnabled=False)
    deployment.run("python", "-m", "tools.stages", "destroy", "staging", "--auto-approve")
    assert deployment.outputs.keys() == {PRODUCTION}
    deployment.cdktf("destroy", "--auto-approve")
    for stack in STACKS:
        state = json.loads((deployment.project / f"terraform.{stack}.tfstate").read_text())
        assert state["resources"] == []
    left = {
        "alarms": deployment.client("cloudwatch").describe_alarms()["MetricAlarms"],
        "apis": deployment.client("apigatewayv2").get_apis()["Items"],
        "dashboards": deployment.client("cloudwatch").list_dashboards()["DashboardEntries"],
        "functions": deployment.client("lambda").list_functions()["Functions"],
        "groups": deployment.client("logs").describe_log_groups()["logGroups"],
        "mappings": deployment.client("lambda").list_event_source_mappings()["EventSourceMappings"],
        "parameters": deployment.client("ssm").describe_parameters()["Parameters"],
        "queues": deployment.client("sqs").list_queues().get("QueueUrls", []),
        "roles": deployment.client("iam").list_roles()["Roles"],
        "subscriptions": deployment.client("sns").list_subscriptions()["Subscriptions"],
        "tables": deployment.client("dynamodb").list_tables()["TableNames"],
        "topics": deployment.client("sns").list_topics()["Topics"],
    }
    assert left == {name: [] for name in left}
