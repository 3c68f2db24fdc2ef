"""Where the secrets are stored, and where they are not."""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from stacks.app import synthesize
from stacks.jwt_secrets import secret_version

from .synthesis import ALL_OPTIONS, PREVIOUS_SECRETS, PRODUCTION, REQUIRED, SECRET, STAGING, Stack, Synthesis

PRIVATE_FILES = {name: f"stacks/{name}/secrets.auto.tfvars.json" for name in (STAGING, PRODUCTION)}


def test_a_secret_takes_its_value_from_an_ephemeral_variable(stack: Stack) -> None:
    version = stack.resource("secretsmanager_secret_version", "jwt_secrets")
    assert version["secret_id"] == "${aws_secretsmanager_secret.jwt_secrets.id}"
    assert version["secret_string_wo"] == "${jsonencode(concat([var.jwt_secret]))}"
    assert not {"secret_string", "secret_binary"} & version.keys()
    assert version["lifecycle"] == {
        "create_before_destroy": True
    }  # an environment that starts meanwhile reads the old one
    assert stack.config["variable"] == {"jwt_secret": {"type": "string", "sensitive": True, "ephemeral": True}}


def test_the_name_of_the_secret_is_free_as_soon_as_it_is_destroyed(stack: Stack) -> None:
    secret = stack.resource("secretsmanager_secret", "jwt_secrets")
    assert secret["name"] == f"slip-sockets/{stack.folder.name}/jwt-secrets"
    assert secret["recovery_window_in_days"] == 0


def test_the_name_of_the_secret_does_not_look_like_the_end_of_an_arn(defaults: Synthesis) -> None:
    """To which AWS adds a hyphen and six characters."""
    for name in (STAGING, PRODUCTION):
        secret = defaults.stack(name).resource("secretsmanager_secret", "jwt_secrets")
        assert re.search(r"-[A-Za-z0-9]{6}$", secret["name"]) is None


def test_previous_secrets_are_in_the_same_one(all_options: Synthesis) -> None:
    """So that all change at once."""
    stack = all_options.stack(PRODUCTION)
    assert stack.config["resource"]["aws_secretsmanager_secret_version"].keys() == {"jwt_secrets"}
    assert stack.resource("secretsmanager_secret_version", "jwt_secrets")["secret_string_wo"] == (
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
                synthesis.stack(name).resource("secretsmanager_secret_version", "jwt_secrets")
                for synthesis in (defaults, synth(**change))
            )
            assert old["secret_string_wo_version"] != new["secret_string_wo_version"]

    def test_differs_between_stages_with_the_same_secret(self, defaults: Synthesis) -> None:
        versions = {
            defaults.stack(name).resource("secretsmanager_secret_version", "jwt_secrets")["secret_string_wo_version"]
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
