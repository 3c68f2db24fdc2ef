"""Recomputes the signature of each request with botocore's signer, and refuses a wrong one in AWS's words.

The local AWS knows all secrets: it issued the keys. Signatures of the parts of a streamed S3 upload are not checked.
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-troubleshooting.html
"""

from __future__ import annotations

import hmac
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.compat import HTTPHeaders
from botocore.credentials import Credentials

from .api_request import ApiRequest, Refusal

MAX_SKEW_S = 5 * 60
MAX_SKEW_S3_S = 15 * 60
"""https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html, RequestTimeTooSkewed"""
MAX_PRESIGNED_S = 7 * 24 * 3600
"""https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html, X-Amz-Expires"""

_TIMESTAMP = "%Y%m%dT%H%M%SZ"
# As `ApiRequest` reads it, so that permissions are those of the key of the signature that was checked.
_HEADER = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<credential>[^, ]+), *SignedHeaders=(?P<headers>[^, ]+), *"
    r"Signature=(?P<signature>[0-9a-f]+)"
)
_PRESIGNED = "x-amz-signature="


@dataclass(frozen=True, slots=True)
class KnownKey:
    """A secret access key. `session_token` is empty for a key of a user; `expires_at` is in Unix seconds."""

    secret: str
    session_token: str = ""
    expires_at: float = float("inf")


FIXED_KEY_ID = "local"
FIXED_KEY = KnownKey("local")
"""Of the person who deploys, with all rights."""

FindKey = Callable[[str], Awaitable[KnownKey | None]]
"""Returns the key of an id, None for an unknown or inactive one."""


@dataclass(frozen=True, slots=True)
class _Signature:
    """What a request says about its own signature. `lifetime_s` is that of a presigned URL."""

    key_id: str
    day: str
    region: str
    service: str
    signed_headers: tuple[str, ...]
    value: str
    token: str
    at: datetime
    lifetime_s: float | None = None


class SignatureCheck:
    """`now` is AWS's clock, in Unix seconds."""

    def __init__(self, find_key: FindKey, now: Callable[[], float] = time.time) -> None:
        self._find_key = find_key
        self._now = now

    async def refusal(self, request: ApiRequest, region: str | None = None) -> Refusal | None:
        """Return why a request is refused, None where its signature is right. `region` is its host's, if it has one."""
        try:
            signature = _read(request)
        except _Incomplete as error:
            return _refusal(request, "IncompleteSignatureException", str(error))
        if signature is None:
            return _refusal(request, "MissingAuthenticationTokenException", "Missing Authentication Token")
        if region not in (None, signature.region):
            message = f"Credential should be scoped to a valid region, not '{signature.region}'."
            return _refusal(request, "InvalidSignatureException", message)
        key = await self._find_key(signature.key_id)
        if key is None or not _is_same(key.session_token, signature.token):
            message = "The security token included in the request is invalid."
            return _refusal(request, "UnrecognizedClientException", message)
        if key.expires_at <= self._now():
            return _refusal(request, "ExpiredTokenException", "The security token included in the request is expired")
        return (
            self._refusal_of_date(request, signature)
            or _refusal_of_headers(request, signature)
            or _refusal_of_value(request, signature, key)
        )

    def _refusal_of_date(self, request: ApiRequest, signature: _Signature) -> Refusal | None:
        at, now = signature.at.timestamp(), self._now()
        sent = f"{signature.at:{_TIMESTAMP}}"
        if signature.day != sent[:8]:
            message = "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: "
            return _refusal(
                request, "InvalidSignatureException", f"{message}'{signature.day}' != '{sent[:8]}', from '{sent}'."
            )
        limit = MAX_SKEW_S3_S if request.service == "s3" else MAX_SKEW_S
        if request.service == "s3" and signature.lifetime_s is None and abs(now - at) > limit:
            message = "The difference between the request time and the current time is too large."
            return _refusal(request, "RequestTimeTooSkewed", message)
        here = f"{datetime.fromtimestamp(now, UTC):{_TIMESTAMP}}"
        earliest = f"{datetime.fromtimestamp(now - limit, UTC):{_TIMESTAMP}}"
        latest = f"{datetime.fromtimestamp(now + limit, UTC):{_TIMESTAMP}}"
        if now - at > (limit if signature.lifetime_s is None else signature.lifetime_s):
            message = f"Signature expired: {sent} is now earlier than {earliest} ({here} - {limit // 60} min.)"
            return _refusal(request, "InvalidSignatureException", message)
        if at - now > limit:
            message = f"Signature not yet current: {sent} is still later than {latest} ({here} + {limit // 60} min.)"
            return _refusal(request, "InvalidSignatureException", message)
        return None


class _Incomplete(Exception):
    """The parts of a signature are not all there."""


def _read(request: ApiRequest) -> _Signature | None:
    """Return None where the request is not signed. Raises _Incomplete."""
    headers = request.headers
    authorization = headers.get("authorization")
    if authorization is None:
        return _read_query(request) if _PRESIGNED in request.target.lower() else None
    match = _HEADER.fullmatch(authorization.strip())
    if match is None:
        missing = [part for part in ("Credential", "Signature", "SignedHeaders") if f"{part}=" not in authorization]
        wanted = " ".join(f"Authorization header requires '{part}' parameter." for part in missing)
        raise _Incomplete(
            f"{wanted or 'Authorization header is malformed.'} Authorization={authorization.partition(' ')[0]}"
        )
    return _Signature(
        *_scope(match["credential"]),
        tuple(match["headers"].split(";")),
        match["signature"],
        headers.get("x-amz-security-token", ""),
        _date(headers),
    )


def _read_query(request: ApiRequest) -> _Signature:
    query = dict(parse_qsl(urlsplit(request.target).query, keep_blank_values=True))
    try:
        return _Signature(
            *_scope(query["X-Amz-Credential"]),
            tuple(query["X-Amz-SignedHeaders"].split(";")),
            query["X-Amz-Signature"],
            query.get("X-Amz-Security-Token", ""),
            _date({"x-amz-date": query["X-Amz-Date"]}),
            _lifetime_s(query["X-Amz-Expires"]),
        )
    except (KeyError, ValueError) as error:
        raise _Incomplete(f"AWS query-string parameters must include {error}. Re-examine the query-string.") from error


def _lifetime_s(expires: str) -> float:
    if not re.fullmatch("[0-9]{1,6}", expires) or not 1 <= int(expires) <= MAX_PRESIGNED_S:
        raise _Incomplete(f"X-Amz-Expires must be from 1 to {MAX_PRESIGNED_S} seconds.")
    return float(expires)


def _scope(credential: str) -> tuple[str, str, str, str]:
    """Return key id, day, region and service. Raises _Incomplete."""
    parts = credential.split("/")
    if len(parts) != 5 or parts[4] != "aws4_request":
        raise _Incomplete(
            "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, "
            f"got '{credential}'"
        )
    return parts[0], parts[1], parts[2], parts[3]


def _date(headers: Mapping[str, str]) -> datetime:
    try:
        if "x-amz-date" in headers:
            return datetime.strptime(headers["x-amz-date"], _TIMESTAMP).replace(tzinfo=UTC)
        return parsedate_to_datetime(headers["date"])
    except (KeyError, ValueError) as error:
        wanted = "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header."
        raise _Incomplete(wanted) from error


def _refusal_of_headers(request: ApiRequest, signature: _Signature) -> Refusal | None:
    """The host and all of AWS's own headers must be signed.
    https://docs.aws.amazon.com/IAM/latest/UserGuide/create-signed-request.html#create-canonical-request"""
    if "host" not in signature.signed_headers:
        message = "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization."
        return _refusal(request, "InvalidSignatureException", message)
    unsigned = [name for name in request.headers if name.startswith("x-amz-") and name not in signature.signed_headers]
    if unsigned:
        message = f"There were headers present in the request which were not signed: {', '.join(unsigned)}"
        return _refusal(request, "AccessDenied" if request.service == "s3" else "InvalidSignatureException", message)
    return None


def _refusal_of_value(request: ApiRequest, signature: _Signature, key: KnownKey) -> Refusal | None:
    stated = request.headers.get("x-amz-content-sha256")
    is_s3 = signature.service == "s3"
    digest = sha256(request.body).hexdigest()
    if is_s3 and signature.lifetime_s is not None:
        payload = "UNSIGNED-PAYLOAD"
    elif is_s3 and stated is not None:
        payload = stated
        if stated != "UNSIGNED-PAYLOAD" and not stated.startswith("STREAMING-") and stated != digest:
            message = "The provided 'x-amz-content-sha256' header does not match what was computed."
            return Refusal(400, "XAmzContentSHA256Mismatch", message)
    else:
        payload = digest
    if _is_same(_recomputed(request, signature, key, payload), signature.value):
        return None
    message = (
        "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access "
        "Key and signing method. Consult the service documentation for details."
    )
    return _refusal(request, "InvalidSignatureException", message)


def _is_same(right: str, given: str) -> bool:
    """`given` may have surrogates: bytes of a header that are not UTF-8."""
    return hmac.compare_digest(right.encode(), given.encode(errors="surrogateescape"))


def _recomputed(request: ApiRequest, signature: _Signature, key: KnownKey, payload: str) -> str:
    url = urlsplit(request.target)
    query = "&".join(pair for pair in url.query.split("&") if pair and not pair.lower().startswith(_PRESIGNED))
    signer_class = S3SigV4Auth if signature.service == "s3" else SigV4Auth
    signer: Any = signer_class(Credentials(signature.key_id, key.secret), signature.service, signature.region)
    signed = HTTPHeaders()
    for name in signature.signed_headers:
        signed[name] = request.headers.get(name, "")
    # botocore would leave out headers that a proxy may change; what was signed, the request says.
    signer.headers_to_sign = lambda _: signed
    signable = AWSRequest(
        request.method, f"http://host{url.path}{'?' if query else ''}{query}", {"X-Amz-Content-SHA256": payload}
    )
    signable.context["timestamp"] = f"{signature.at:{_TIMESTAMP}}"
    recomputed: str = signer.signature(signer.string_to_sign(signable, signer.canonical_request(signable)), signable)
    return recomputed


_NAMES_IN_QUERY = {
    "InvalidSignatureException": "SignatureDoesNotMatch",
    "UnrecognizedClientException": "InvalidClientTokenId",
}
"""https://docs.aws.amazon.com/STS/latest/APIReference/CommonErrors.html"""
_NAMES_IN_S3 = {
    "InvalidSignatureException": "SignatureDoesNotMatch",
    "UnrecognizedClientException": "InvalidAccessKeyId",
    "ExpiredTokenException": "ExpiredToken",
    "MissingAuthenticationTokenException": "AccessDenied",
    "IncompleteSignatureException": "AuthorizationHeaderMalformed",
}
"""https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html"""


def _refusal(request: ApiRequest, code: str, message: str) -> Refusal:
    if request.service == "s3":
        return Refusal(403, _NAMES_IN_S3.get(code, code), message)
    if request.is_query:
        code = _NAMES_IN_QUERY.get(code, code)
    return Refusal(400 if request.is_json_rpc else 403, code, message)
