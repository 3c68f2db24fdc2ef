"""The AWS account that a command works in: its credentials, as boto3 finds them, and clients of its services."""

from __future__ import annotations

import http
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

import boto3
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    LoginError,
    MissingDependencyException,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
    SSOError,
    TokenRetrievalError,
)

from ..aws.client import IDLE_CONNECTION_S, Client, endpoint_url
from ..aws.sigv4 import Credentials
from ..gateway.errors import Unavailable
from ..gateway.ports import SystemClock
from ..http.client import Client as HttpClient
from ..http.client import Timeouts
from ..protocol.errors import InvalidSettings
from ..protocol.urls import quoted_url, url_problem

TIMEOUTS = Timeouts(connect_s=5, first_byte_s=20, total_s=30)
"""More than a function has: a person can wait."""

_REGION = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)")
"""A region is a part of host names."""


class Account:
    """Credentials from the environment, a profile or another source that boto3 knows, for calls to one region.

    It is the CredentialsProvider of its clients. Raises InvalidSettings where the user can fix it, and Unavailable.
    """

    def __init__(self, region: str) -> None:
        if not _REGION.fullmatch(region):
            raise InvalidSettings([f"{region!r} is not a region of AWS. One looks like eu-west-1"])
        self._region = region
        with _fixable():
            found = boto3.session.Session(region_name=region).get_credentials()
            if found is None:
                raise NoCredentialsError
            self._credentials = found
            frozen = found.get_frozen_credentials()  # asks AWS for them, where a profile assumes a role
        if not all(_is_header_value(part or "") for part in (frozen.access_key, frozen.secret_key, frozen.token)):
            how = "Look at AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, or at the profile"
            raise InvalidSettings([f"the credentials for AWS have characters that no credentials have. {how}"])
        self._http = HttpClient(SystemClock(), TIMEOUTS, idle_s=IDLE_CONNECTION_S)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._http.aclose()

    async def __call__(self) -> Credentials:
        """Return credentials that are valid now; boto3 refreshes those that expire. Raises Unavailable."""
        try:
            return self._credentials.get_frozen_credentials()
        except (BotoCoreError, ClientError) as error:
            raise Unavailable(f"AWS: {error}") from error

    def client(self, service: str) -> Any:
        """Return a client with the methods of boto3's. They raise AwsError, NoResponse and Unavailable."""
        url = endpoint_url(service, self._region, os.environ)
        if problem := url_problem(url):
            name = f"AWS_ENDPOINT_URL_{service.upper()}"
            name = name if os.environ.get(name) else "AWS_ENDPOINT_URL"
            raise InvalidSettings([f"{name} {quoted_url(url)} is {problem}. Set it to a URL, or unset it"])
        return Client(service, self._region, self, endpoint_url=url, http=self._http)


def _is_header_value(text: str) -> bool:
    return text.isascii() and text.isprintable()


@contextmanager
def _fixable() -> Iterator[None]:
    """Raise InvalidSettings for errors about credentials that the user can fix, Unavailable for others of AWS."""
    try:
        yield
    except (NoCredentialsError, PartialCredentialsError) as error:
        how = "Set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        raise InvalidSettings([f"there are no credentials for AWS. {how}"]) from error
    except ProfileNotFound as error:
        raise InvalidSettings([" ".join(str(error).split())]) from error
    except MissingDependencyException as error:  # a profile of `aws login`, which boto3 cannot read alone
        how = 'Type: eval "$(aws configure export-credentials --format env)"'
        raise InvalidSettings([f"the profile is one of aws login, which only the AWS CLI reads. {how}"]) from error
    except (SSOError, TokenRetrievalError, LoginError) as error:
        raise InvalidSettings(["the login of the profile is over. Type: aws sso login, or aws login"]) from error
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] == http.HTTPStatus.FORBIDDEN:
            raise InvalidSettings([f"AWS refuses these credentials: {error}"]) from error
        raise Unavailable(f"AWS: {error}") from error
    except BotoCoreError as error:
        raise Unavailable(f"AWS: {error}") from error
    except Exception as error:  # of any kind: boto3 reads numbers, files and URLs from variables without a check
        how = "Look at the variables that begin with AWS_, and at ~/.aws/config"
        raise InvalidSettings(
            [f"boto3 cannot use the settings for AWS: {' '.join(str(error).split())}. {how}"]
        ) from error
