from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tools import stages

SETTINGS = {
    "TARGET_URL": "https://app.example/slip",
    "JWT_SECRET": "a-secret-of-more-than-thirty-two-bytes",
    "STAGING_JWT_SECRET": "the-staging-secret-of-more-than-32-bytes",
    "JWT_PREVIOUS_SECRETS": "old,older",
}
OF_A_LOCAL_AWS = {
    "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
    "AWS_ACCESS_KEY_ID": "local",
    "AWS_SECRET_ACCESS_KEY": "local",
    "AWS_REGION": "us-east-1",
}
"""It has credentials, and is not asked for anything: nothing listens there."""
ENTRY = {"controlApi": "https://x", "targetUrl": "https://y", "websocketUrl": "wss://z", "region": "us-east-1"}


class RecordingCdktf:
    """Takes the place of `cdktf`: writes the outputs of the stack that it is called for, and ends with `code`."""

    def __init__(self) -> None:
        self.code = 0
        self.calls: list[list[str]] = []
        self.environments: list[dict[str, str]] = []

    def __call__(self, command: list[Any], *, env: dict[str, str], **_: object) -> subprocess.CompletedProcess[str]:
        self.calls.append([str(word) for word in command[1:]])
        self.environments.append(env)
        if "CDKTF_OUTPUTS_FILE" in env:
            Path(env["CDKTF_OUTPUTS_FILE"]).write_text(json.dumps({command[2]: ENTRY}))
        return subprocess.CompletedProcess(command, self.code)


@pytest.fixture
def cdktf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RecordingCdktf:
    recording = RecordingCdktf()
    monkeypatch.setattr(subprocess, "run", recording)
    monkeypatch.setattr(stages, "ROOT", tmp_path)
    monkeypatch.setattr(stages, "OUTPUTS", tmp_path / "cdk-outputs.json")
    for name, value in (SETTINGS | OF_A_LOCAL_AWS).items():
        monkeypatch.setenv(name, value)
    return recording


def test_a_deploy_keeps_the_other_stages_entry(cdktf: RecordingCdktf, capsys: pytest.CaptureFixture[str]) -> None:
    stages.OUTPUTS.write_text('{"slip-sockets": {"region": "eu-central-1"}, "slip-sockets-staging": {}}')
    assert stages.main(["deploy", "staging", "--auto-approve"]) == 0
    assert cdktf.calls == [["deploy", "slip-sockets-staging", "--auto-approve"]]
    expected = {"slip-sockets": {"region": "eu-central-1"}, "slip-sockets-staging": ENTRY}
    assert json.loads(stages.OUTPUTS.read_text()) == expected
    assert sorted(path.name for path in stages.ROOT.iterdir()) == ["build", "cdk-outputs.json"]
    assert capsys.readouterr().out == "cdk-outputs.json now has the outputs of: slip-sockets, slip-sockets-staging\n"


def test_a_failed_deploy_leaves_the_file_as_it_was(cdktf: RecordingCdktf) -> None:
    cdktf.code = 3
    stages.OUTPUTS.write_text("{ }")
    assert stages.main(["deploy", "production"]) == 3
    assert stages.OUTPUTS.read_text() == "{ }"


def test_a_destroy_removes_the_entry(cdktf: RecordingCdktf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRODUCTION_DELETION_PROTECTION", "false")
    stages.OUTPUTS.write_text(json.dumps({"slip-sockets": ENTRY, "slip-sockets-staging": ENTRY}))
    assert stages.main(["destroy", "production"]) == 0
    assert json.loads(stages.OUTPUTS.read_text()) == {"slip-sockets-staging": ENTRY}


def test_terraform_gets_the_stages_own_secrets(cdktf: RecordingCdktf) -> None:
    stages.main(["diff", "staging"])
    stages.main(["diff", "production"])
    assert [environment["TF_VAR_jwt_secret"] for environment in cdktf.environments] == [
        "the-staging-secret-of-more-than-32-bytes",
        "a-secret-of-more-than-thirty-two-bytes",
    ]
    assert cdktf.environments[0]["TF_VAR_jwt_previous_secrets"] == "old,older"


def test_wrong_settings_are_reported_and_nothing_is_run(
    cdktf: RecordingCdktf, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TARGET_URL", "ftp://x")
    assert stages.main(["deploy", "staging"]) == 1
    assert (
        "TARGET_URL 'ftp://x' is not an http or https URL. Set it to the URL of your backend" in capsys.readouterr().err
    )
    assert cdktf.calls == []


@pytest.mark.parametrize("action", ["deploy", "diff", "destroy"])
def test_nothing_is_run_without_credentials(
    cdktf: RecordingCdktf, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], action: str
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    monkeypatch.setenv("AWS_PROFILE", "absent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    assert stages.main([action, "staging"]) == 1
    assert capsys.readouterr().err.startswith("slip-sockets: AWS_PROFILE is 'absent', which is not a profile. ")
    assert cdktf.calls == []


def test_production_is_not_destroyed_before_its_protection_is_off(
    cdktf: RecordingCdktf, capsys: pytest.CaptureFixture[str]
) -> None:
    assert stages.main(["destroy", "production"]) == 1
    assert capsys.readouterr().err.startswith("slip-sockets: slip-sockets is protected, and nothing was destroyed. ")
    assert cdktf.calls == []


def test_where_it_goes_is_printed(cdktf: RecordingCdktf, capsys: pytest.CaptureFixture[str]) -> None:
    assert stages.main(["diff", "staging"]) == 0
    assert capsys.readouterr().err == "slip-sockets: slip-sockets-staging: region us-east-1 (AWS_REGION)\n"


@pytest.mark.parametrize("arguments", [[], ["deploy"], ["deploy", "elsewhere"], ["apply", "staging"]])
def test_an_unknown_command_is_explained(cdktf: RecordingCdktf, arguments: list[str]) -> None:
    assert stages.main(arguments) == 2
    assert cdktf.calls == []
