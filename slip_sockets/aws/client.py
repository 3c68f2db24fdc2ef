"""Calls AWS's services that speak JSON, which DynamoDB, SQS and Secrets Manager do, as aiobotocore's clients do.

Botocore with one client takes twice the processor time of a function's whole cold start, and a call of it four times
that of one here (docs/speed.md). The parameters of a call and its response are the service's, so the types of
aiobotocore's clients hold for this one; binary attributes are left as base64.
https://smithy.io/2.0/aws/protocols/aws-json-1_0-protocol.html
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import http
import random
import ssl
import time
import zlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from ..gateway.errors import HttpError, Unavailable
from ..gateway.ports import SystemClock
from ..http.client import Client as HttpClient
from ..http.client import Request, Timeouts
from ..http.reader import Response
from ..http.url import parse_url
from .credentials import CredentialsProvider
from .errors import AwsError, NoResponse
from .sigv4 import Credentials, Signer

ATTEMPTS = 3
BACKOFF_BASE = 2.0
TIMEOUTS = Timeouts(connect_s=1.0, first_byte_s=3.0, total_s=3.5)
"""Of one attempt: a call and its repetitions take at most 14 s, pauses included; the functions have longer."""
IDLE_CONNECTION_S = 20.0
"""DynamoDB keeps an idle connection for longer; a function that was frozen learns late that one has ended."""
USER_AGENT = "slip-sockets"
MAX_RESPONSE_BYTES = 16 * 1024 * 1024
"""DynamoDB's largest, of BatchGetItem.
https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchGetItem.html"""


class JsonProtocol(msgspec.Struct, frozen=True):
    """`target` stands before an operation's name; `json` is the version of JSON's content type."""

    target: str
    json: str


PROTOCOLS: Mapping[str, JsonProtocol] = {
    "dynamodb": JsonProtocol("DynamoDB_20120810", "1.0"),
    "secretsmanager": JsonProtocol("secretsmanager", "1.1"),
    "sqs": JsonProtocol("AmazonSQS", "1.0"),
}

_TRANSIENT_STATUSES = {500, 502, 503, 504}
_TRANSIENT_CODES = {
    "BandwidthLimitExceeded",
    "EC2ThrottledException",
    "LimitExceededException",
    "PriorRequestNotComplete",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestThrottledException",
    "RequestTimeout",
    "RequestTimeoutException",
    "SlowDown",
    "ThrottledException",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
    "TransactionInProgressException",
}
"""Errors that are worth another attempt: the standard mode's list.
https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html"""
_THROTTLING_CODES = {
    "ProvisionedThroughputExceeded",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "ThrottlingError",
    "ThrottlingException",
}
"""DynamoDB's, and its reasons for cancelling a transaction. Batches have what was throttled as unprocessed.
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.Errors.html"""


def aws_http(tls: ssl.SSLContext | None = None) -> HttpClient:
    """Return the HTTP client for the services, which they may share."""
    return HttpClient(SystemClock(), TIMEOUTS, idle_s=IDLE_CONNECTION_S, tls=tls)


class Client:
    """A client of one of PROTOCOLS. All calls belong on one event loop.

    Each operation is a method, named as boto3 names it: `await get_item(TableName=..., Key=...)` returns the response.
    It raises AwsError or NoResponse, after `attempts`. All operations that are called here may be repeated.
    `on_throttled` is called for each attempt that the service throttles, in whole or in part.
    """

    def __init__(
        self,
        service: str,
        region: str,
        credentials: CredentialsProvider,
        *,
        endpoint_url: str,
        http: HttpClient,
        attempts: int = ATTEMPTS,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        on_throttled: Callable[[], None] | None = None,
    ) -> None:
        self._service = service
        self._region = region
        self._protocol = PROTOCOLS[service]
        self._credentials = credentials
        self._http = http
        self._attempts = attempts
        self._sleep = sleep
        self._on_throttled = on_throttled or (lambda: None)
        self._url = endpoint_url.rstrip("/") + "/"
        self._host = parse_url(endpoint_url).origin.host
        self._signers: tuple[Credentials | None, dict[str, Signer]] = (None, {})

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        """Return the operation of that name, and keep it."""
        if name.startswith("_"):
            raise AttributeError(name)
        operation = functools.partial(self._call, "".join(map(str.capitalize, name.split("_"))))
        setattr(self, name, operation)
        return operation

    async def _call(self, operation: str, **parameters: object) -> Any:
        body = msgspec.json.encode(parameters)
        digest = hashlib.sha256(body).hexdigest()
        attempt = 1
        while True:
            failure: Exception
            try:
                return await self._attempt(operation, body, digest)
            except NoResponse as error:
                failure = error
            except AwsError as error:
                if _is_throttled(error):
                    self._on_throttled()
                if not _is_transient(error):
                    raise
                failure = error
            if attempt >= self._attempts:
                raise failure
            pause_s = random.random() * BACKOFF_BASE ** (attempt - 1)  # noqa: S311 - jitter, not cryptography
            await self._sleep(pause_s)
            attempt += 1

    async def _attempt(self, operation: str, body: bytes, digest: str) -> Any:
        signer = await self._signer(operation)
        headers = {**signer.fields("POST", "/", digest, now=time.time()), "User-Agent": USER_AGENT}
        request = Request("POST", self._url, headers, body, is_repeatable=True)
        try:
            response = await self._http.request(request, max_bytes=MAX_RESPONSE_BYTES)
        except HttpError as error:
            raise NoResponse(f"{operation}: {error}") from error
        if response.status != http.HTTPStatus.OK:
            raise AwsError(operation, _refusal(response))
        if _is_damaged(response):
            raise NoResponse(f"{operation}: the response is damaged: its checksum is another")
        if not response.body:  # of an operation that has nothing to return
            return {}
        try:
            output = msgspec.json.decode(response.body, type=dict[str, Any])
        except msgspec.DecodeError as error:
            raise NoResponse(f"{operation}: the response is not a JSON object: {error}") from error
        if output.get("UnprocessedItems") or output.get("UnprocessedKeys"):
            self._on_throttled()
        return output

    async def _signer(self, operation: str) -> Signer:
        """Return the operation's own, which has today's key, as long as the credentials are the same."""
        credentials = await self._credentials()
        if credentials is None:
            raise Unavailable("there are no AWS credentials")
        known, signers = self._signers
        if known != credentials:
            signers = {}
            self._signers = (credentials, signers)
        signer = signers.get(operation)
        if signer is None:
            headers = {
                "Content-Type": f"application/x-amz-json-{self._protocol.json}",
                "X-Amz-Target": f"{self._protocol.target}.{operation}",
            }
            signer = signers[operation] = Signer(self._host, self._region, credentials, self._service, headers)
        return signer


def endpoint_url(service: str, region: str, environ: Mapping[str, str]) -> str:
    """Return where a service is: AWS_ENDPOINT_URL_<SERVICE> or AWS_ENDPOINT_URL, as in boto3, or the region's own."""
    named = environ.get(f"AWS_ENDPOINT_URL_{service.upper()}") or environ.get("AWS_ENDPOINT_URL")
    suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    return named or f"https://{service}.{region}.{suffix}"


def _refusal(response: Response) -> Mapping[str, Any]:
    """Return an error in boto3's shape. Its name may have a namespace before it, and more behind it."""
    try:
        body = msgspec.json.decode(response.body, type=dict[str, Any])
    except msgspec.DecodeError:  # it is of something between AWS and here
        body = {}
    name = str(body.get("__type") or response.headers.get("x-amzn-errortype") or response.status)
    code = name.rpartition("#")[2].partition(":")[0]
    message = str(body.get("message") or body.get("Message") or _phrase(response.status))
    error = {"Code": code, "Message": message}
    return {**body, "Error": error, "ResponseMetadata": {"HTTPStatusCode": response.status}}


def _phrase(status: int) -> str:
    try:
        return http.HTTPStatus(status).phrase
    except ValueError:
        return ""


def _is_damaged(response: Response) -> bool:
    """Compare DynamoDB's checksum, which is of the body as it was sent: a compressed one has checksums of its own."""
    expected = response.headers.get("x-amz-crc32")
    return (
        expected is not None
        and "content-encoding" not in response.headers
        and str(zlib.crc32(response.body)) != expected.strip()
    )


def _is_throttled(error: AwsError) -> bool:
    codes = {error.response["Error"]["Code"]}
    codes.update(reason.get("Code", "") for reason in error.response.get("CancellationReasons", ()))
    return not codes.isdisjoint(_THROTTLING_CODES)


def _is_transient(error: AwsError) -> bool:
    status = error.response["ResponseMetadata"]["HTTPStatusCode"]
    return status in _TRANSIENT_STATUSES or error.response["Error"]["Code"] in _TRANSIENT_CODES
