"""Where the secrets are stored, and where they are not."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from stacks.app import synthesize
from stacks.jwt_secrets import secret_version

from .synthesis import ALL_OPTIONS, PREVIOUS_SECRETS, PRODUCTION, REQUIRED, SECRET, STAGING, Stack, Synthesis

PRIVATE_FILES = {name: f"stacks/{name}/secrets.auto.tfvars.json" for name in (STAGING, PRODUCTION)}


def test_a_parameter_takes_the_secret_from_an_ephemeral_variable(stack: Stack) -> None:
    parameter = stack.resource("ssm_parameter", "jwt_secret")
    assert parameter["type"] == "SecureString"
    assert parameter["name"] == f"/slip-sockets/{stack.folder.name}/jwt-secret/{parameter['value_wo_version']}"
    assert parameter["lifecycle"] == {
        "create_before_destroy": True
    }  # an environment that starts meanwhile reads the old one
    assert parameter["value_wo"] == "${jsonencode(concat([var.jwt_secret]))}"
    assert not {"value", "insecure_value"} & parameter.keys()
    assert stack.config["variable"] == {"jwt_secret": {"type": "string", "sensitive": True, "ephemeral": True}}


def test_a_role_may_read_any_version(stack: Stack) -> None:
    """An environment may start after the change of its role, and before that of its configuration."""
    assert stack.config["locals"] == {"jwt_secrets": '${replace(aws_ssm_parameter.jwt_secret.arn, "/[0-9]+$/", "*")}'}


def test_previous_secrets_are_in_the_same_one(all_options: Synthesis) -> None:
    """So that all change at once."""
    stack = all_options.stack(PRODUCTION)
    assert stack.config["resource"]["aws_ssm_parameter"].keys() == {"jwt_secret"}
    assert stack.resource("ssm_parameter", "jwt_secret")["value_wo"] == (
        '${jsonencode(concat([var.jwt_secret], split(",", var.jwt_previous_secrets)))}'
    )
    assert stack.config["variable"]["jwt_previous_secrets"]["ephemeral"] is True


def test_secrets_are_in_the_private_files_alone(all_options: Synthesis) -> None:
    for secret in (SECRET, *PREVIOUS_SECRETS.split(",")):
        holders = [path for path, content in all_options.files().items() if secret.encode() in content]
        assert sorted(holders) == sorted(PRIVATE_FILES.values())
    for path in PRIVATE_FILES.values():
        assert json.loads((all_options.out / path).read_text()) == {
            "jwt_secret": SECRET,
            "jwt_previous_secrets": PREVIOUS_SECRETS,
        }


def test_private_files_are_readable_by_the_user_alone(defaults: Synthesis) -> None:
    for path in PRIVATE_FILES.values():
        assert stat.S_IMODE((defaults.out / path).stat().st_mode) == 0o600


class TestTerraformsEnvironment:
    """Terraform reads TF_VAR_... by itself."""

    @pytest.fixture
    def private_files(self, tmp_path: Path) -> Callable[..., dict[str, object]]:
        """Synthesizes and returns the contents of the private files by stack."""

        def private_files(**settings: str) -> dict[str, object]:
            synthesize(tmp_path / "cdktf.out", REQUIRED | settings)
            paths = (tmp_path / "cdktf.out").glob("stacks/*/*.tfvars*")
            return {path.parent.name: json.loads(path.read_text()) for path in paths}

        return private_files

    def test_there_is_no_private_file(self, private_files: Callable[..., dict[str, object]]) -> None:
        assert private_files().keys() == {STAGING, PRODUCTION}
        assert private_files(TF_VAR_jwt_secret=SECRET) == {}

    def test_a_file_holds_those_missing_from_its_environment(
        self, private_files: Callable[..., dict[str, object]]
    ) -> None:
        settings = ALL_OPTIONS | {"TF_VAR_jwt_secret": SECRET}
        others = {"jwt_previous_secrets": PREVIOUS_SECRETS}
        assert private_files(**settings) == {STAGING: others, PRODUCTION: others}
        assert private_files(**settings, TF_VAR_jwt_previous_secrets=PREVIOUS_SECRETS) == {}

    def test_a_stage_with_another_secret_does_not_get_the_wrong_one(
        self, private_files: Callable[..., dict[str, object]]
    ) -> None:
        """Terraform prefers the file."""
        settings = {"STAGING_JWT_SECRET": "a-secret-for-staging-of-more-than-32-bytes"}
        expected = {STAGING: {"jwt_secret": settings["STAGING_JWT_SECRET"]}}
        assert private_files(**settings, TF_VAR_jwt_secret=SECRET) == expected

    def test_none_remains_of_stacks_that_had_another_name(
        self, private_files: Callable[..., dict[str, object]]
    ) -> None:
        assert private_files(STACK_NAME="old").keys() == {"old", "old-staging"}
        assert private_files(TF_VAR_jwt_secret=SECRET) == {}


class TestVersion:
    """What makes Terraform see new secrets."""

    @pytest.mark.parametrize(
        "change", [{"JWT_SECRET": "another-secret-of-more-than-thirty-two-bytes"}, {"JWT_PREVIOUS_SECRETS": "old"}]
    )
    def test_follows_the_secrets(
        self, synth: Callable[..., Synthesis], defaults: Synthesis, change: dict[str, str]
    ) -> None:
        for name in (STAGING, PRODUCTION):
            old, new = (
                synthesis.stack(name).resource("ssm_parameter", "jwt_secret")
                for synthesis in (defaults, synth(**change))
            )
            assert old["value_wo_version"] != new["value_wo_version"]
            assert old["name"] != new["name"]

    def test_differs_between_stages_with_the_same_secret(self, defaults: Synthesis) -> None:
        versions = {
            defaults.stack(name).resource("ssm_parameter", "jwt_secret")["value_wo_version"]
            for name in (STAGING, PRODUCTION)
        }
        assert len(versions) == 2

    def test_is_the_same_for_the_same(self) -> None:
        assert secret_version("s", salt="/a") == secret_version("s", salt="/a") == 612204  # on any machine

    def test_is_a_positive_number_of_24_bits(self) -> None:
        versions = [secret_version(str(number), salt="/a") for number in range(10)]
        assert len(set(versions)) == 10
        assert all(1 <= version <= 2**24 for version in versions)
        assert max(versions) > 2**20
