"""What changes in place, and what is left at the end. After `test_deployment.py`, on its deployment."""

from __future__ import annotations

import json

import pytest
from websockets.sync.client import connect

from slip_sockets import ControlApiRefused, ControlApiUnavailable, Report, SlipSocketsPublisher
from slip_sockets.events import PublishText

from .backend import LobbyBackend
from .deployment import PRODUCTION, SECRET, STACKS, STAGING, Deployment

pytestmark = pytest.mark.e2e

NEW_SECRET = "another-e2e-secret-of-more-than-32-bytes"


def test_a_function_is_denied_what_its_role_does_not_allow(deployment: Deployment) -> None:
    """Until the next deploy, which mends the role."""
    iam, role = deployment.client("iam"), f"{STAGING}-control"
    (policy,) = iam.list_role_policies(RoleName=role)["PolicyNames"]
    document = iam.get_role_policy(RoleName=role, PolicyName=policy)["PolicyDocument"]
    for statement in document["Statement"]:
        statement["Action"] = [action for action in statement["Action"] if action != "dynamodb:Query"] or "sts:Nothing"
    iam.put_role_policy(RoleName=role, PolicyName=policy, PolicyDocument=json.dumps(document))
    sockets = SlipSocketsPublisher.from_outputs(
        deployment.project / "cdk-outputs.json", stack=STAGING, jwt_secret=SECRET
    )
    with pytest.raises(ControlApiUnavailable) as refusal:
        sockets.publish_text("lobby", "x")
    assert "AccessDeniedException" in str(refusal.value.body)
    denied = {judgement.action for judgement in deployment.aws.judgements() if not judgement.allowed}
    assert denied == {"dynamodb:Query"}


def test_a_new_target_and_a_new_secret_deploy_in_place(deployment: Deployment, backend: LobbyBackend) -> None:
    """With the make target's command: it keeps the other stage's entry, and leaves no file that holds the secret."""
    before = deployment.outputs
    with LobbyBackend(NEW_SECRET) as other:
        deployment.target_url, deployment.jwt_secret = other.url, NEW_SECRET
        try:
            printed = deployment.run("python", "-m", "tools.stages", "deploy", "staging", "--auto-approve")
            assert "0 to destroy" in printed
            after = deployment.outputs
            assert after[STAGING] == before[STAGING] | {"targetUrl": other.url}
            assert after[PRODUCTION] == before[PRODUCTION]
            files = [path for path in deployment.project.rglob("*") if path.is_file() and path.suffix != ".py"]
            assert deployment.project / f"terraform.{STAGING}.tfstate" in files
            assert [path for path in files if NEW_SECRET.encode() in path.read_bytes()] == []
            assert NEW_SECRET not in printed
            with connect(after[STAGING]["websocketUrl"], open_timeout=60, proxy=None) as client:
                assert client.recv(60) == "welcome"
                outputs = deployment.project / "cdk-outputs.json"
                old = SlipSocketsPublisher.from_outputs(outputs, stack=STAGING, jwt_secret=SECRET)
                new = SlipSocketsPublisher.from_outputs(outputs, stack=STAGING, jwt_secret=NEW_SECRET)
                with pytest.raises(ControlApiRefused):
                    old.publish_text("lobby", "x")
                assert new.send([PublishText("lobby", "x")]) == [Report(1, 1, 0, 0)]
                assert client.recv(60) == "x"
        finally:
            deployment.target_url, deployment.jwt_secret = backend.url, SECRET


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


def test_destroy_leaves_nothing(deployment: Deployment) -> None:
    deployment.client("dynamodb").update_table(TableName=f"{PRODUCTION}-Connections", DeletionProtectionEnabled=False)
    deployment.run("python", "-m", "tools.stages", "destroy", "staging", "--auto-approve")
    assert deployment.outputs.keys() == {PRODUCTION}
    deployment.cdktf("destroy", "--auto-approve")
    for stack in STACKS:
        state = json.loads((deployment.project / f"terraform.{stack}.tfstate").read_text())
        assert state["resources"] == []
    left = {
        "apis": deployment.client("apigatewayv2").get_apis()["Items"],
        "functions": deployment.client("lambda").list_functions()["Functions"],
        "groups": deployment.client("logs").describe_log_groups()["logGroups"],
        "mappings": deployment.client("lambda").list_event_source_mappings()["EventSourceMappings"],
        "parameters": deployment.client("ssm").describe_parameters()["Parameters"],
        "queues": deployment.client("sqs").list_queues().get("QueueUrls", []),
        "roles": deployment.client("iam").list_roles()["Roles"],
        "tables": deployment.client("dynamodb").list_tables()["TableNames"],
    }
    assert left == {name: [] for name in left}
