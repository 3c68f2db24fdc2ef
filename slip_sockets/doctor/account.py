"""Calls of AWS's APIs with the user's credentials, none of which changes anything."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from .findings import CannotCheck, Finding, fine
from .threads import in_thread

CONNECT_S = 4
RESPONSE_S = 10
ATTEMPTS = 2
TIMEOUT_S = ATTEMPTS * (CONNECT_S + RESPONSE_S) + 5.0
"""Of a check with few calls, one after the other."""
MAX_CHARACTERS = 200
"""Of an unexpected error."""
CREDENTIALS = "Set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, of the deployment's account"

_DENIED = {"AccessDenied", "AccessDeniedException", "AuthorizationError", "UnauthorizedOperation"}
_MISSING = {"ResourceNotFoundException", "NotFoundException", "QueueDoesNotExist"}
_MISSING_OF_QUERY = "AWS.SimpleQueueService.NonExistentQueue"
_BAD_CREDENTIALS = {
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "RequestExpired",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
}


class NotThere(Exception):
    """What a call is about does not exist."""


class Account:
    """The account of the credentials that boto3 finds, in one region. `account_id` is known once it is open."""

    def __init__(self, region: str) -> None:
        self.region = region
        self.account_id = ""
        self._partition = ""
        self._session: Any = None
        self._clients: dict[str, Any] = {}
        self._making = threading.Lock()

    async def check(self) -> list[Finding]:
        """Open it: all other methods need that. Raises CannotCheck."""
        identity = await self.call("sts", "get_caller_identity")
        self.account_id = identity["Account"]
        self._partition = identity["Arn"].split(":")[1]
        return [fine("credentials", f"AWS takes the credentials, of account {self.account_id}, in {self.region}")]

    @property
    def where(self) -> str:
        return f"in account {self.account_id}, {self.region}"

    def function_arn(self, name: str) -> str:
        return f"arn:{self._partition}:lambda:{self.region}:{self.account_id}:function:{name}"

    async def call(self, service: str, operation: str, **parameters: Any) -> dict[str, Any]:
        """Call `operation`, a method of boto3's client, and return its response. Raises CannotCheck and NotThere."""
        return await in_thread(lambda: self._call(service, operation, parameters))

    async def pages(self, service: str, operation: str, key: str, **parameters: Any) -> list[dict[str, Any]]:
        """Return the items under `key` of all pages. Raises CannotCheck and NotThere."""

        def collected() -> list[dict[str, Any]]:
            found: list[dict[str, Any]] = []
            with _Errors(service, operation):
                for page in self._client(service).get_paginator(operation).paginate(**parameters):
                    found += page.get(key, [])
            return found

        return await in_thread(collected)

    def _call(self, service: str, operation: str, parameters: dict[str, Any]) -> dict[str, Any]:
        with _Errors(service, operation):
            response: dict[str, Any] = getattr(self._client(service), operation)(**parameters)
            return response

    def _client(self, service: str) -> Any:
        import boto3
        from botocore.config import Config

        with self._making:  # a session makes one client at a time
            if self._session is None:
                self._session = boto3.session.Session(region_name=self.region)
            if service not in self._clients:
                retries: Any = {"total_max_attempts": ATTEMPTS, "mode": "standard"}
                config = Config(connect_timeout=CONNECT_S, read_timeout=RESPONSE_S, retries=retries)
                self._clients[service] = self._session.client(service, config=config)
            return self._clients[service]


class _Errors:
    """Raises CannotCheck or NotThere for boto3's errors within."""

    def __init__(self, service: str, operation: str) -> None:
        self._service = service
        self._operation = operation

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, ModuleNotFoundError):
            if (error.name or "").partition(".")[0] in ("boto3", "botocore"):
                install = 'Install it: pip install "path/to/slip-sockets[aws]"'
                raise CannotCheck("boto3 is missing", install) from error
            return
        if error is None:
            return
        from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError

        if isinstance(error, NoCredentialsError | PartialCredentialsError):
            raise CannotCheck("there are no credentials for AWS", CREDENTIALS) from error
        if isinstance(error, BotoCoreError):  # of a profile, of single sign-on, of the network
            raise CannotCheck(f"AWS cannot be called: {' '.join(str(error).split())}", CREDENTIALS) from error
        if isinstance(error, ClientError):
            raise self._of(error) from error
        # boto3 reads numbers, files and URLs from variables without a check.
        if isinstance(error, ValueError | OSError):
            reason = f"boto3 cannot use the settings for AWS: {' '.join(str(error).split())}"[:MAX_CHARACTERS]
            needed = "Variables that begin with AWS_, and ~/.aws/config, as boto3 takes them"
            raise CannotCheck(reason, needed) from error

    def _of(self, error: Any) -> Exception:
        code = error.response["Error"]["Code"]
        if code in _MISSING or code == _MISSING_OF_QUERY:
            return NotThere(str(error))
        if code in _BAD_CREDENTIALS:
            return CannotCheck(f"AWS refuses these credentials: {error}", f"{CREDENTIALS}; the clock must be right")
        if code in _DENIED:
            needed = permission(self._service, self._operation)
            return CannotCheck(f"the credentials lack the permission {needed}", f"The permission {needed}")
        message = " ".join(str(error).split())[:MAX_CHARACTERS]
        return CannotCheck(f"AWS responds with {code}: {message}", "Try again")


def permission(service: str, operation: str) -> str:
    """Return the action in IAM of a call of boto3's.

    https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html
    """
    if service in ("apigateway", "apigatewayv2"):
        return "apigateway:GET"
    return f"{service}:{''.join(word.capitalize() for word in operation.split('_'))}"


async def side_by_side(*calls: Any) -> list[Any]:
    """Await calls side by side. Raises the error of the first that fails, in their order."""
    results = await asyncio.gather(*calls, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return list(results)
