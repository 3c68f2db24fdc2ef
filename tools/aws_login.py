"""Logs in to AWS before `cdktf` starts, in each way that AWS's own tools know.

Terraform's AWS provider and its S3 backend cannot read all profiles: not those of `aws login`, and not those that ask
for a code (https://github.com/hashicorp/terraform-provider-aws/issues/45316). So what a profile leads to is found here,
by botocore or else by the AWS CLI, and handed to Terraform as an access key. A problem is one line with what to type.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import botocore.session
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
    LoginError,
    MissingDependencyException,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
    SSOError,
    TokenRetrievalError,
)
from botocore.exceptions import ConnectionError as NoConnection
from botocore.utils import JSONFileCache

from slip_sockets.protocol.errors import InvalidSettings

QUICK = Config(connect_timeout=5, read_timeout=10, retries={"total_max_attempts": 2})
"""For calls before a deploy, which a person waits for."""

_READ_BY_TERRAFORM = {"env", "iam-role", "container-role", "assume-role-with-web-identity"}
"""botocore's names of sources that Terraform reads, and reads again when they expire."""
_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
_PROFILES = ("AWS_PROFILE", "AWS_DEFAULT_PROFILE")


@dataclass(frozen=True, slots=True)
class Login:
    """`keys` are the variables to hand to Terraform, empty where it finds the credentials itself. They are secret.

    `session` makes clients with them. `account_id` is None where AWS was not reached. A local AWS is not asked.
    """

    session: boto3.session.Session
    keys: Mapping[str, str]
    account_id: str | None = None
    is_local: bool = False

    def environment(self, environ: Mapping[str, str], region: str) -> dict[str, str]:
        """Return `environ` with the keys in place of the profile that they are from, and of its region."""
        if not self.keys:
            return dict(environ)
        others = {name: value for name, value in environ.items() if name not in (*_PROFILES, *_KEYS)}
        has_region = environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION")
        return {**others, **self.keys, **({} if has_region else {"AWS_REGION": region})}


def log_in(region: str) -> Login:
    """Find credentials and let AWS check them. Raises InvalidSettings with one line that says what to type."""
    if os.environ.get("AWS_ENDPOINT_URL") and all(os.environ.get(name) for name in _KEYS[:2]):
        return Login(boto3.session.Session(region_name=region), {}, is_local=True)
    keys = _find_keys(region)
    key_id, secret, token = map(keys.get, _KEYS)
    session = boto3.session.Session(key_id, secret, token, region)
    return Login(session, keys, _account_of(session))


def _find_keys(region: str) -> dict[str, str]:
    session = botocore.session.Session()
    session.set_config_variable("region", region)  # where a role is assumed
    profile = session.get_config_variable("profile") or "default"
    try:
        # MFA codes are asked for once an hour: the AWS CLI keeps what it got for one here, too.
        assume_role = session.get_component("credential_provider").get_provider("assume-role")
        assume_role.cache = JSONFileCache(str(Path("~/.aws/cli/cache").expanduser()))
        found = session.get_credentials()
        if found is None:
            raise NoCredentialsError
        frozen = found.get_frozen_credentials()
        if found.method in _READ_BY_TERRAFORM:
            return {}
        values = (frozen.access_key, frozen.secret_key, frozen.token)
        return {name: value for name, value in zip(_KEYS, values, strict=True) if value}
    except MissingDependencyException:  # botocore reads `aws login` with a library of its own, which is not installed
        return _exported_by_the_cli(profile, session)
    except NoCredentialsError as error:
        how = "Log in: aws login, or aws sso login --profile NAME and AWS_PROFILE=NAME, or set AWS_ACCESS_KEY_ID and "
        raise InvalidSettings([f"there are no credentials for AWS. {how}AWS_SECRET_ACCESS_KEY"]) from error
    except PartialCredentialsError as error:
        raise InvalidSettings([f"{_one_line(error)}. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"]) from error
    except ProfileNotFound as error:
        how = "These are there: aws configure list-profiles"
        raise InvalidSettings([f"AWS_PROFILE is {profile!r}, which is not a profile. {how}"]) from error
    except (EOFError, KeyboardInterrupt) as error:
        problem = f"the profile {profile!r} asks for an MFA code, and none was typed"
        raise InvalidSettings([f"{problem}. {_typed_by_hand(profile)}"]) from error
    except (SSOError, TokenRetrievalError, LoginError) as error:
        raise InvalidSettings([f"the login of the profile {profile!r} is over. {_log_in_again(session)}"]) from error
    except (BotoCoreError, ClientError, OSError) as error:  # OSError: a credential_process that is not there
        problem = f"the profile {profile!r} gives no credentials: {_one_line(error)}"
        raise InvalidSettings([f"{problem}. {_log_in_again(session)}"]) from error


def _exported_by_the_cli(profile: str, session: botocore.session.Session) -> dict[str, str]:
    program = shutil.which("aws")
    if program is None:
        problem = f"the profile {profile!r} is one of aws login, and the AWS CLI is not on PATH"
        raise InvalidSettings([f"{problem}. Where it is, type: {_export(profile)}; then set what it prints here"])
    command = [program, "configure", "export-credentials", "--profile", profile, "--format", "process"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        exported: dict[str, Any] = json.loads(done.stdout)
        return {
            name: exported[key]
            for name, key in zip(_KEYS, ("AccessKeyId", "SecretAccessKey", "SessionToken"), strict=True)
        }
    except (ValueError, KeyError) as error:
        reason = " ".join(done.stderr.split()).rstrip(".") or "it printed no credentials"
        problem = f"the AWS CLI gives no credentials for the profile {profile!r}: {reason}"
        raise InvalidSettings([f"{problem}. {_log_in_again(session)}"]) from error


def _account_of(session: boto3.session.Session) -> str | None:
    """Return the account's id, None where AWS cannot be reached. Raises InvalidSettings where it refuses the keys."""
    client: Any = session.client("sts", config=QUICK)
    try:
        return str(client.get_caller_identity()["Account"])
    except ClientError as error:
        problem = f"AWS refuses these credentials: {_one_line(error)}"
        raise InvalidSettings([f"{problem}. {_log_in_again(botocore.session.Session())}"]) from error
    except (NoConnection, HTTPClientError):
        return None


def _log_in_again(session: botocore.session.Session) -> str:
    """Return what to type for the profile, or the one that it takes its credentials from."""
    if os.environ.get(_KEYS[0]):
        return "Set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, if they are temporary, AWS_SESSION_TOKEN anew"
    profiles: Mapping[str, Any] = session.full_config["profiles"]
    profile = session.get_config_variable("profile") or "default"
    visited: list[str] = []
    while profile in profiles and profile not in visited:
        visited.append(profile)
        settings = profiles[profile]
        if "login_session" in settings:
            return f"Type: aws login --profile {shlex.quote(profile)}"
        if "sso_session" in settings or "sso_start_url" in settings:
            return f"Type: aws sso login --profile {shlex.quote(profile)}"
        profile = settings.get("source_profile", "")
    return _typed_by_hand(visited[0] if visited else "default")


def _typed_by_hand(profile: str) -> str:
    return f"Type: {_export(profile)}"


def _export(profile: str) -> str:
    return f'eval "$(aws configure export-credentials --profile {shlex.quote(profile)} --format env)"'


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")
