"""The policy of docs/deploying.md is enough to deploy, change and destroy a stage, and no action in it is idle."""

from __future__ import annotations

import json
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any

import pytest

from local_aws import LocalAws

from ..local_aws.cloud import settings
from .deployment import PRODUCTION, ROOT, Deployment, copy_of_the_project

pytestmark = pytest.mark.e2e

POLICY = ROOT / "docs" / "deploying-policy.json"
USER = "deployer"
CHANGE = {"ALARM_EMAIL": "", "DELIVER_CONCURRENCY": "50", "STAGING_TRACING": "false", "ACCESS_LOGS": "true"}
TAKEN = "sqs:DeleteQueue"
"""The action that a test takes from the policy."""

NOT_USED_HERE = {
    "acm:*": "no hosted zone: DOMAIN_NAME needs one",
    "route53:*": "no hosted zone: DOMAIN_NAME needs one",
    "iam:CreateServiceLinkedRole": "API Gateway makes its role with an account's first domain name",
    "s3:*": "the state is a file here",
    "logs:*LogDeliver*": "CloudWatch asks for these where ACCESS_LOGS is switched on; moto does not",
    "logs:*ResourcePolic*": "CloudWatch asks for these where ACCESS_LOGS is switched on; moto does not",
    "lambda:*ProvisionedConcurrencyConfig": "PROVISIONED_CONCURRENCY alone",
    "lambda:GetAccountSettings": "not asked of a local AWS",
    "apigateway:PATCH": "moto cannot change a stage or an API",
    "apigateway:PUT": "tags of an API that exists",
    "dynamodb:UpdateContinuousBackups": "a table that had backups",
    "dynamodb:UpdateTable": "a table that changes, such as its protection",
    "iam:UpdateAssumeRolePolicy": "a new principal for the functions' roles",
    "*:Untag*": "a tag that goes, as with another STACK_NAME",
    "secretsmanager:UpdateSecret": "a secret that changes, such as its description",
    "secretsmanager:UpdateSecretVersionStage": "a version that is destroyed while it has a label other than AWSCURRENT",
    "sqs:SetQueueAttributes": "a queue that changes, such as its times",
}
"""Actions of the policy that the steps below do not use, with the reason."""


def filled_in(aws: LocalAws) -> dict[str, Any]:
    values = {"ACCOUNT": aws.settings.account_id, "REGION": "us-east-1", "STACK": PRODUCTION, "BUCKET": "our-states"}
    text = POLICY.read_text()
    for placeholder, value in values.items():
        text = text.replace(placeholder, value)
    policy: dict[str, Any] = json.loads(text)
    return policy


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    project = copy_of_the_project(tmp_path_factory.mktemp("project"))
    with LocalAws(settings(max_environments=1)) as aws:
        yield Deployment(project, aws, "http://127.0.0.1:9/slip")


@pytest.fixture(scope="module")
def keys(deployment: Deployment) -> dict[str, str]:
    """The keys of a user with the policy."""
    iam = deployment.client("iam")
    iam.create_user(UserName=USER)
    set_policy(deployment, filled_in(deployment.aws))
    key = iam.create_access_key(UserName=USER)["AccessKey"]
    return {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}


def set_policy(deployment: Deployment, policy: dict[str, Any]) -> None:
    document = json.dumps(policy)
    deployment.client("iam").put_user_policy(UserName=USER, PolicyName="deploying", PolicyDocument=document)


def run(deployment: Deployment, action: str, **variables: str) -> str:
    return deployment.run("python", "-m", "tools.stages", action, "staging", "--auto-approve", cwd=None, **variables)


def test_it_is_enough_to_deploy(deployment: Deployment, keys: dict[str, str]) -> None:
    run(deployment, "deploy", ACCESS_LOGS="true", **keys)


def test_it_is_enough_to_change(deployment: Deployment, keys: dict[str, str]) -> None:
    """Code, configuration, secret, alarms and the queue's mapping."""
    changed = deployment.project / "functions" / "deliver.py"
    changed.write_text(f"{changed.read_text()}\n# changed\n")
    deployment.target_url += "/elsewhere"
    deployment.jwt_secret += "-changed"
    run(deployment, "deploy", **CHANGE, **keys)


def test_with_one_action_less_it_is_not_enough(deployment: Deployment, keys: dict[str, str]) -> None:
    less = filled_in(deployment.aws)
    for statement in less["Statement"]:
        statement["Action"] = [action for action in statement["Action"] if action != TAKEN]
    set_policy(deployment, less)
    with pytest.raises(AssertionError, match=TAKEN):
        run(deployment, "destroy", **CHANGE, **keys)
    set_policy(deployment, filled_in(deployment.aws))


def test_it_is_enough_to_destroy(deployment: Deployment, keys: dict[str, str]) -> None:
    run(deployment, "destroy", **CHANGE, **keys)
    state = json.loads((deployment.project / f"terraform.{PRODUCTION}-staging.tfstate").read_text())
    assert state["resources"] == []


def test_no_action_is_idle_without_a_reason(deployment: Deployment) -> None:
    """After the tests above, which use them."""
    decisions = [asked for asked in deployment.aws.access_decisions() if asked.principal.endswith(f"user/{USER}")]
    assert {asked.action for asked in decisions if not asked.allowed} == {TAKEN}
    used = {asked.action for asked in decisions if asked.allowed}
    granted = {action for statement in json.loads(POLICY.read_text())["Statement"] for action in statement["Action"]}
    idle = granted - used
    assert {action for action in idle if not any(fnmatchcase(action, each) for each in NOT_USED_HERE)} == set()
    assert [each for each in NOT_USED_HERE if not any(fnmatchcase(action, each) for action in idle)] == []


def test_it_fits_a_managed_policy() -> None:
    """https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html: 6,144 characters without blanks."""
    assert len(json.dumps(json.loads(POLICY.read_text()), separators=(",", ":"))) <= 6_144


def test_the_page_links_it() -> None:
    assert "(deploying-policy.json)" in (ROOT / "docs" / "deploying.md").read_text()
