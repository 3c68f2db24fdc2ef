"""Each way to log in leads to keys for Terraform, or to one line that says what to type."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from botocore.credentials import AssumeRoleProvider

from slip_sockets.protocol.errors import InvalidSettings
from tools.aws_login import Login, log_in

from ..aws.http_stub import Answer, HttpStub, stub
from ..aws.moto_server import moto_url

__all__ = ["moto_url", "stub"]

CONFIG = """
[profile keys]
aws_access_key_id = AKIAKEYS
aws_secret_access_key = secret-of-keys
region = eu-central-1

[profile process]
credential_process = {home}/process

[profile broken-process]
credential_process = {home}/missing

[profile role]
role_arn = arn:aws:iam::123456789012:role/deployer
source_profile = keys

[profile mfa]
role_arn = arn:aws:iam::123456789012:role/deployer
source_profile = keys
mfa_serial = arn:aws:iam::123456789012:mfa/ada

[profile console]
login_session = arn:aws:iam::123456789012:user/ada

[profile through-console]
role_arn = arn:aws:iam::123456789012:role/deployer
source_profile = console

[profile sso]
sso_session = ours
sso_account_id = 123456789012
sso_role_name = Deployer

[sso-session ours]
sso_start_url = https://ours.awsapps.com/start
sso_region = us-east-1

[profile through-sso]
role_arn = arn:aws:iam::123456789012:role/deployer
source_profile = sso
"""
EXPORTED = (
    '{"Version": 1, "AccessKeyId": "ASIACLI", "SecretAccessKey": "secret-of-cli", "SessionToken": "token-of-cli"}'
)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moto_url: str) -> Path:
    """A user with profiles, on a machine without the AWS CLI and without a terminal, where moto is STS."""
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "config").write_text(CONFIG.format(home=tmp_path))
    program(tmp_path / "process", f"echo '{EXPORTED}'")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", moto_url)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    prompt_with(monkeypatch, no_terminal)
    return tmp_path


def prompt_with(monkeypatch: pytest.MonkeyPatch, prompter: Callable[[str], str]) -> None:
    """In place of getpass, which botocore took when it was imported."""
    monkeypatch.setattr(AssumeRoleProvider.__init__, "__defaults__", (prompter, None, None))


def no_terminal(prompt: str) -> str:
    raise EOFError


def program(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.fixture
def as_profile(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Login]:
    def as_profile(name: str) -> Login:
        monkeypatch.setenv("AWS_PROFILE", name)
        return log_in("eu-central-1")

    return as_profile


def test_keys_in_the_environment_are_left_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAENV")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    login = log_in("us-east-1")
    assert (login.keys, login.account_id, login.is_local) == ({}, "123456789012", False)
    assert login.environment({"AWS_ACCESS_KEY_ID": "AKIAENV"}, "us-east-1") == {"AWS_ACCESS_KEY_ID": "AKIAENV"}


def test_a_local_aws_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.delenv("AWS_ENDPOINT_URL_STS")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "local")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "local")
    login = log_in("us-east-1")
    assert (login.keys, login.account_id, login.is_local) == ({}, None, True)


@pytest.mark.parametrize(("profile", "key_id"), [("keys", "AKIAKEYS"), ("process", "ASIACLI"), ("role", "ASIA")])
def test_keys_stand_in_for_a_profile(as_profile: Callable[[str], Login], profile: str, key_id: str) -> None:
    login = as_profile(profile)
    environment = login.environment(os.environ | {"AWS_DEFAULT_PROFILE": "other"}, "eu-central-1")
    assert environment["AWS_ACCESS_KEY_ID"].startswith(key_id)
    assert environment["AWS_SECRET_ACCESS_KEY"]
    assert environment["AWS_REGION"] == "eu-central-1"
    assert not {"AWS_PROFILE", "AWS_DEFAULT_PROFILE"} & environment.keys()
    assert ("AWS_SESSION_TOKEN" in environment) == (profile != "keys")
    assert login.environment({"AWS_DEFAULT_REGION": "us-west-2"}, "us-west-2").keys() == login.keys.keys() | {
        "AWS_DEFAULT_REGION"
    }


def test_an_mfa_code_is_asked_for_once_and_kept_where_the_aws_cli_keeps_it(
    as_profile: Callable[[str], Login], monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    asked = []

    def type_code(prompt: str) -> str:
        asked.append(prompt)
        return "123456"

    prompt_with(monkeypatch, type_code)
    first, second = as_profile("mfa"), as_profile("mfa")
    assert first.keys["AWS_ACCESS_KEY_ID"].startswith("ASIA")
    assert first.keys == second.keys
    assert asked == ["Enter MFA code for arn:aws:iam::123456789012:mfa/ada: "]
    (cached,) = (home / ".aws" / "cli" / "cache").iterdir()
    assert cached.stat().st_mode & 0o777 == 0o600


@pytest.fixture
def cli(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the AWS CLI is, for a test that writes it."""
    (home / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{home / 'bin'}:/usr/bin:/bin")
    return home / "bin" / "aws"


@pytest.mark.parametrize("profile", ["console", "through-console"])
def test_the_aws_cli_reads_a_profile_of_aws_login(as_profile: Callable[[str], Login], cli: Path, profile: str) -> None:
    """botocore does not without a library that is not installed."""
    program(
        cli, f"""[ "$*" = "configure export-credentials --profile {profile} --format process" ] && echo '{EXPORTED}'"""
    )
    assert as_profile(profile).keys == {
        "AWS_ACCESS_KEY_ID": "ASIACLI",
        "AWS_SECRET_ACCESS_KEY": "secret-of-cli",
        "AWS_SESSION_TOKEN": "token-of-cli",
    }


@pytest.mark.parametrize("profile", ["console", "through-console"])
def test_a_login_that_is_over_is_one_line(as_profile: Callable[[str], Login], cli: Path, profile: str) -> None:
    program(cli, "printf 'Your session\\n has expired.\\n' >&2; exit 255")
    assert problem(as_profile, profile) == (
        f"the AWS CLI gives no credentials for the profile '{profile}': Your session has expired. "
        "Type: aws login --profile console"
    )


@pytest.mark.parametrize(
    ("profile", "expected"),
    [
        (
            "console",
            "the profile 'console' is one of aws login, and the AWS CLI is not on PATH. Where it is, type: "
            'eval "$(aws configure export-credentials --profile console --format env)"; then set what it prints here',
        ),
        ("sso", "the login of the profile 'sso' is over. Type: aws sso login --profile sso"),
        ("through-sso", "the login of the profile 'through-sso' is over. Type: aws sso login --profile sso"),
        (
            "mfa",
            "the profile 'mfa' asks for an MFA code, and none was typed. "
            'Type: eval "$(aws configure export-credentials --profile mfa --format env)"',
        ),
        ("absent", "AWS_PROFILE is 'absent', which is not a profile. These are there: aws configure list-profiles"),
        (
            "default",
            "there are no credentials for AWS. Log in: aws login, or aws sso login --profile NAME and "
            "AWS_PROFILE=NAME, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        ),
    ],
)
def test_what_is_missing_is_one_line_with_what_to_type(
    as_profile: Callable[[str], Login], home: Path, profile: str, expected: str
) -> None:
    with (home / ".aws" / "config").open("a") as file:
        file.write("\n[default]\noutput = json\n")
    assert problem(as_profile, profile) == expected


def test_a_process_that_fails_is_one_line(as_profile: Callable[[str], Login]) -> None:
    text = problem(as_profile, "broken-process")
    assert text.startswith("the profile 'broken-process' gives no credentials: ")
    assert text.endswith('. Type: eval "$(aws configure export-credentials --profile broken-process --format env)"')


def test_half_a_key_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAENV")
    with pytest.raises(
        InvalidSettings, match=r"AWS_SECRET_ACCESS_KEY\. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY$"
    ):
        log_in("us-east-1")


EXPIRED = b"""<ErrorResponse><Error><Type>Sender</Type><Code>ExpiredToken</Code>
<Message>The security token included in the request is expired</Message></Error></ErrorResponse>"""


@pytest.mark.parametrize("source", ["environment", "profile"])
def test_keys_that_aws_refuses_are_one_line(
    as_profile: Callable[[str], Login], monkeypatch: pytest.MonkeyPatch, stub: HttpStub, source: str
) -> None:
    stub.script = lambda _: Answer(403, EXPIRED, {"Content-Type": "text/xml"})
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", stub.url)
    how = 'Type: eval "$(aws configure export-credentials --profile keys --format env)"'
    if source == "environment":
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAENV")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret-not-to-print")
        how = "Set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, if they are temporary, AWS_SESSION_TOKEN anew"
    assert problem(as_profile, "keys") == (
        "AWS refuses these credentials: An error occurred (ExpiredToken) when calling the GetCallerIdentity operation: "
        f"The security token included in the request is expired. {how}"
    )


def test_without_a_network_terraform_says_what_is_wrong(
    as_profile: Callable[[str], Login], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:9")
    assert as_profile("keys").account_id is None


def problem(as_profile: Callable[[str], Login], profile: str) -> str:
    with pytest.raises(InvalidSettings) as error:
        as_profile(profile)
    (text,) = error.value.problems
    assert "\n" not in text
    assert "secret-of" not in text
    assert "not-to-print" not in text
    return text
