"""What is refused, or said, before `cdktf` starts."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pytest

from slip_sockets.protocol.errors import InvalidSettings
from stacks.settings import StageSettings, read_settings
from tools.aws_login import Login
from tools.before_deploy import refuse_what_cannot_succeed

from ..aws.http_stub import Answer, HttpStub, stub
from ..aws.moto_server import moto_url

__all__ = ["moto_url", "stub"]

REQUIRED = {"TARGET_URL": "https://app.example/slip", "JWT_SECRET": "a-secret-of-more-than-thirty-two-bytes"}
RAISE_IT = (
    "request a higher limit: aws service-quotas request-service-quota-increase --service-code lambda "
    "--quota-code L-B99A9384 --desired-value 1000 --region us-east-1"
)


def stages(**settings: str) -> tuple[StageSettings, StageSettings]:
    (staging, production), _ = read_settings(REQUIRED | settings)
    return staging, production


def state_of(region: str, *, protected: bool = False) -> str:
    table = {"name": "slip-sockets-Channels", "deletion_protection_enabled": protected}
    return json.dumps(
        {
            "version": 4,
            "outputs": {"region": {"value": region, "type": "string"}},
            "resources": [
                {"type": "aws_dynamodb_table", "name": "Channels", "instances": [{"attributes": table}]},
                {"type": "aws_sqs_queue", "name": "deferred", "instances": [{"attributes": {"name": "x"}}]},
            ],
        }
    )


@pytest.fixture
def local() -> Login:
    return Login(boto3.session.Session("x", "x", region_name="us-east-1"), {}, is_local=True)


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch, stub: HttpStub, local: Login) -> Callable[[int], Login]:
    """An account with this number of concurrent executions."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", stub.url)

    def account(limit: int) -> Login:
        limits = {"ConcurrentExecutions": limit, "UnreservedConcurrentExecutions": limit}
        stub.script = lambda request: Answer.of({"AccountLimit": limits})
        return replace(local, is_local=False)

    return account


def problems(action: str, settings: StageSettings, login: Login, root: Path) -> list[str]:
    with pytest.raises(InvalidSettings) as error:
        refuse_what_cannot_succeed(action, settings, login, root)
    return error.value.problems


class TestRegion:
    MOVED = (
        "slip-sockets-staging is in eu-central-1, by its state, and not in us-east-1 (the default: neither AWS_REGION "
        "nor the profile has a region). Set STAGING_AWS_REGION=eu-central-1. To move it, destroy it there first"
    )

    @pytest.mark.parametrize("action", ["deploy", "diff", "destroy"])
    def test_another_one_than_the_states_is_refused(self, local: Login, tmp_path: Path, action: str) -> None:
        (tmp_path / "terraform.slip-sockets-staging.tfstate").write_text(state_of("eu-central-1"))
        assert problems(action, stages()[0], local, tmp_path) == [self.MOVED]
        refuse_what_cannot_succeed(action, stages(STAGING_AWS_REGION="eu-central-1")[0], local, tmp_path)

    @pytest.mark.parametrize("content", [None, "", "{}", "[]", '{"outputs": {}}'])
    def test_without_a_state_any_is_right(self, local: Login, tmp_path: Path, content: str | None) -> None:
        if content is not None:
            (tmp_path / "terraform.slip-sockets-staging.tfstate").write_text(content)
        assert refuse_what_cannot_succeed("deploy", stages()[0], local, tmp_path) == []

    def test_a_state_in_a_bucket_is_read(
        self, local: Login, tmp_path: Path, moto_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", moto_url)
        s3: Any = local.session.client("s3")
        s3.create_bucket(Bucket="our-states")
        settings = stages(STATE_BUCKET="our-states")[0]
        assert refuse_what_cannot_succeed("deploy", settings, local, tmp_path) == []
        s3.put_object(Bucket="our-states", Key="slip-sockets-staging.tfstate", Body=state_of("eu-central-1").encode())
        assert problems("deploy", settings, local, tmp_path) == [self.MOVED]
        assert refuse_what_cannot_succeed("diff", stages(STATE_BUCKET="no-such-bucket")[0], local, tmp_path) == []


class TestProtection:
    def test_production_is_not_destroyed_while_its_settings_protect_it(self, local: Login, tmp_path: Path) -> None:
        assert problems("destroy", stages()[1], local, tmp_path) == [
            "slip-sockets is protected, and nothing was destroyed. To destroy it: export "
            "PRODUCTION_DELETION_PROTECTION=false; make deploy-production; make destroy-production"
        ]

    def test_nor_before_its_tables_are_unprotected(self, local: Login, tmp_path: Path) -> None:
        settings = stages(PRODUCTION_DELETION_PROTECTION="false")[1]
        state = tmp_path / "terraform.slip-sockets.tfstate"
        state.write_text(state_of("us-east-1", protected=True))
        assert problems("destroy", settings, local, tmp_path) == [
            "slip-sockets-Channels are still protected, and nothing was destroyed. "
            "First: make deploy-production, with PRODUCTION_DELETION_PROTECTION=false"
        ]
        state.write_text(state_of("us-east-1"))
        assert refuse_what_cannot_succeed("destroy", settings, local, tmp_path) == []

    def test_staging_is_destroyed_unless_it_is_protected_too(self, local: Login, tmp_path: Path) -> None:
        assert refuse_what_cannot_succeed("destroy", stages()[0], local, tmp_path) == []
        (problem,) = problems("destroy", stages(DELETION_PROTECTION="true")[0], local, tmp_path)
        assert problem.startswith("slip-sockets-staging is protected, and nothing was destroyed. ")


class TestConcurrency:
    def test_an_old_account_has_enough(self, account: Callable[[int], Login], tmp_path: Path) -> None:
        settings = stages(PROVISIONED_CONCURRENCY="450")[0]
        assert refuse_what_cannot_succeed("deploy", settings, account(1000), tmp_path) == []

    @pytest.mark.parametrize("action", ["deploy", "diff"])
    def test_a_new_account_is_told_what_it_means(
        self, account: Callable[[int], Login], tmp_path: Path, action: str
    ) -> None:
        assert refuse_what_cannot_succeed(action, stages()[0], account(10), tmp_path) == [
            "the account runs at most 10 functions at once in us-east-1, and DELIVER_CONCURRENCY=100 lets a large "
            f"publish take them from clients, who are refused meanwhile. Set DELIVER_CONCURRENCY=5, and {RAISE_IT}"
        ]
        assert refuse_what_cannot_succeed(action, stages(DELIVER_CONCURRENCY="2")[0], account(10), tmp_path) == [
            "the account runs at most 10 functions at once in us-east-1; each event takes one while your backend "
            f"responds. To have more, {RAISE_IT}"
        ]

    @pytest.mark.parametrize(("limit", "most"), [(10, 0), (100, 0), (109, 4)])
    def test_warm_functions_that_cannot_be_had_are_refused(
        self, account: Callable[[int], Login], tmp_path: Path, limit: int, most: int
    ) -> None:
        assert problems("deploy", stages(PROVISIONED_CONCURRENCY="5")[0], account(limit), tmp_path) == [
            f"PROVISIONED_CONCURRENCY is 5, and the account can keep {most} functions warm in us-east-1: a deploy "
            f"needs them twice, and of its {limit} concurrent executions Lambda leaves 100 to all functions. "
            f"Set it to {most}, or {RAISE_IT}"
        ]

    def test_a_login_that_may_not_ask_deploys_all_the_same(
        self, account: Callable[[int], Login], tmp_path: Path, stub: HttpStub
    ) -> None:
        login = account(10)
        stub.script = lambda _: Answer(403, b'{"message": "not\\nauthorized"}', {"x-amzn-ErrorType": "AccessDenied"})
        assert refuse_what_cannot_succeed("deploy", stages(PROVISIONED_CONCURRENCY="5")[0], login, tmp_path) == [
            "how many functions the account may run at once is not known: An error occurred (AccessDenied) when "
            "calling the GetAccountSettings operation: not authorized"
        ]

    def test_destroy_does_not_ask(self, account: Callable[[int], Login], tmp_path: Path, stub: HttpStub) -> None:
        assert refuse_what_cannot_succeed("destroy", stages()[0], account(10), tmp_path) == []
        assert stub.requests == []
