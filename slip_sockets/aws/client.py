"""Calls AWS's services that speak JSON, which DynamoDB, SQS and SSM do, as boto3's clients do.

Botocore with one client takes twice the processor time of a function's whole cold start, and a call of it four times
that of one here (docs/speed.md). What a call may say and its answer holds are the service's, so the types of boto3's
clients hold for this one; binary attributes are left as base64.
https://smithy.io/2.0/aws/protocols/aws-json-1_0-protocol.html
"""

from __future__ import annotations

import functools
import hashlib
import random
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import msgspec
import urllib3

from ..gateway.ports import Unavailable
from .calls import AwsError, NoAnswer
from .credentials import CredentialsProvider
from .sigv4 import Credentials, Signer
from .tls import tls_context

MAX_POOL_CONNECTIONS = 10
BACKOFF_BASE = 2.0


@dataclass(frozen=True, slots=True)
class Protocol:
    """`target` stands before an operation's name; `json` is the version of JSON's content type."""

    target: str
    json: str


PROTOCOLS: Mapping[str, Protocol] = {
    "dynamodb": Protocol("DynamoDB_20120810", "1.0"),
    "sqs": Protocol("AmazonSQS", "1.0"),
    "ssm": Protocol("AmazonSSM", "1.1"),
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
"""What is worth another attempt: the standard mode's list.
https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html"""


@dataclass(frozen=True, slots=True)
class Patience:
    """At most 12 s for a call and its repetitions, then it has failed; the functions have longer."""

    connect_timeout_s: float = 1.0
    read_timeout_s: float = 3.0
    attempts: int = 3


class Client:
    """A client of one of PROTOCOLS. Threads may share it.

    Each operation is a method, named as boto3 names it: `get_item(TableName=..., Key=...)` returns the answer. It
    raises AwsError or NoAnswer, after as many attempts as `patience` has.
    """

    def __init__(
        self,
        service: str,
        region: str,
        credentials: CredentialsProvider,
        *,
        endpoint_url: str,
        patience: Patience | None = None,
        tls: ssl.SSLContext | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._service = service
        self._region = region
        self._protocol = PROTOCOLS[service]
        self._credentials = credentials
        self._patience = patience or Patience()
        self._sleep = sleep
        url = urlsplit(endpoint_url)
        timeout = urllib3.Timeout(connect=self._patience.connect_timeout_s, read=self._patience.read_timeout_s)
        self._host = url.netloc
        name, port = url.hostname or "", url.port
        kept = MAX_POOL_CONNECTIONS
        self._pool = (
            urllib3.HTTPSConnectionPool(name, port, timeout, kept, ssl_context=tls or tls_context())
            if url.scheme == "https"
            else urllib3.HTTPConnectionPool(name, port, timeout, kept)
        )
        self._signers: tuple[Credentials | None, dict[str, Signer]] = (None, {})

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """Return the operation of that name, and keep it."""
        if name.startswith("_"):
            raise AttributeError(name)
        operation = functools.partial(self._call, "".join(map(str.capitalize, name.split("_"))))
        setattr(self, name, operation)
        return operation

    def _call(self, operation: str, **parameters: object) -> Any:
        body = msgspec.json.encode(parameters)
        digest = hashlib.sha256(body).hexdigest()
        attempt = 1
        while True:
            failure: Exception
            try:
                return self._attempt(operation, body, digest)
            except NoAnswer as error:
                failure = error
            except AwsError as error:
                if not _is_transient(error):
                    raise
                failure = error
            if attempt >= self._patience.attempts:
                raise failure
            self._sleep(random.random() * BACKOFF_BASE ** (attempt - 1))  # noqa: S311 - jitter, not cryptography
            attempt += 1

    def _attempt(self, operation: str, body: bytes, digest: str) -> Any:
        signer = self._signer(operation)
        headers = signer.fields("POST", "/", digest, now=time.time())
        try:
            answer = self._pool.urlopen("POST", "/", body, headers, retries=False, redirect=False)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise NoAnswer(f"{operation}: {error}") from error
        if answer.status != 200:
            raise AwsError(operation, _refusal(answer))
        try:
            return msgspec.json.decode(answer.data)
        except msgspec.DecodeError as error:
            raise NoAnswer(f"{operation}: the answer is not JSON: {error}") from error

    def _signer(self, operation: str) -> Signer:
        """Return the operation's own, which has today's key, as long as the credentials are the same."""
        credentials = self._credentials()
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
    """Return where a service is: what the environment says, as boto3 heeds it, or the region's own."""
    named = environ.get(f"AWS_ENDPOINT_URL_{service.upper()}") or environ.get("AWS_ENDPOINT_URL")
    suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    return named or f"https://{service}.{region}.{suffix}"


def _refusal(answer: urllib3.BaseHTTPResponse) -> Mapping[str, Any]:
    """Return an error in boto3's shape. Its name may have a namespace before it, and more behind it."""
    try:
        body = msgspec.json.decode(answer.data, type=dict[str, Any])
    except msgspec.DecodeError:  # of something on the way
        body = {}
    name = str(body.get("__type") or answer.headers.get("x-amzn-errortype") or answer.status)
    code = name.rpartition("#")[2].partition(":")[0]
    message = str(body.get("message") or body.get("Message") or answer.reason or "")
    error = {"Code": code, "Message": message}
    return {**body, "Error": error, "ResponseMetadata": {"HTTPStatusCode": answer.status}}


def _is_transient(error: AwsError) -> bool:
    status = error.response["ResponseMetadata"]["HTTPStatusCode"]
    return status in _TRANSIENT_STATUSES or error.response["Error"]["Code"] in _TRANSIENT_CODES
