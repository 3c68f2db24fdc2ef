from __future__ import annotations

import hashlib
import random
import string
import time
import urllib.parse
from collections.abc import Mapping, Sequence

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from slip_sockets.aws.sigv4 import Signer

NOW = 1_767_225_599.9  # 2025-12-31T23:59:59Z


def by_botocore(
    method: str,
    url: str,
    body: bytes,
    credentials: Credentials,
    date: str,
    service: str = "execute-api",
    headers: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """As SigV4Auth.add_auth does it, at a given time."""
    auth = SigV4Auth(credentials, service, "eu-west-1")
    request = AWSRequest(method, url, data=body, headers=headers)
    request.context["timestamp"] = date
    request.headers["X-Amz-Date"] = date
    if credentials.token:
        request.headers["X-Amz-Security-Token"] = credentials.token
    signature = auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)
    signed = auth.signed_headers(auth.headers_to_sign(request))
    authorization = f"AWS4-HMAC-SHA256 Credential={auth.scope(request)}, SignedHeaders={signed}, Signature={signature}"
    host = urllib.parse.urlsplit(url).netloc
    return {"Host": host, **dict(request.headers.items()), "Authorization": authorization}


def parse(lines: str) -> dict[str, str]:
    assert lines.endswith("\r\n")
    pairs = (line.partition(": ") for line in lines.removesuffix("\r\n").split("\r\n"))
    return {name: value for name, _, value in pairs}


@pytest.mark.parametrize("token", [None, "a/session+token=="])
@pytest.mark.parametrize(("method", "body"), [("POST", b"hi \xf0\x9f\x98\x80"), ("DELETE", b""), ("GET", b"")])
@pytest.mark.parametrize("host", ["abc123.execute-api.eu-west-1.amazonaws.com", "127.0.0.1:4000"])
def test_signs_as_botocore_does(host: str, method: str, body: bytes, token: str | None) -> None:
    credentials = Credentials("AKIDEXAMPLE", "a secret", token)
    signer = Signer(host, "eu-west-1", credentials)
    for name in ("AAAA%3D", "a%2Fb~c%20%C3%BC"):
        path = f"/live/@connections/{name}"
        canonical_path = f"/live/%40connections/{name.replace('%', '%25')}"
        # Twice on one day, and once on the next, which has another key.
        for seconds, date in ((0, "20251231T235959Z"), (0, "20251231T235959Z"), (1, "20260101T000000Z")):
            lines = signer.headers(method, canonical_path, hashlib.sha256(body).hexdigest(), now=NOW + seconds)
            assert parse(lines) == by_botocore(method, f"https://{host}{path}", body, credentials, date)


@pytest.mark.parametrize("token", [None, "a/session+token=="])
def test_signs_additional_headers(token: str | None) -> None:
    credentials = Credentials("AKIDEXAMPLE", "a secret", token)
    host, body = "dynamodb.eu-west-1.amazonaws.com", b'{"TableName":"a"}'
    headers = {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": "DynamoDB_20120810.Query"}
    signer = Signer(host, "eu-west-1", credentials, "dynamodb", headers)
    digest = hashlib.sha256(body).hexdigest()
    fields = signer.fields("POST", "/", digest, now=NOW)
    expected = by_botocore("POST", f"https://{host}/", body, credentials, "20251231T235959Z", "dynamodb", headers)
    assert fields == expected
    assert parse(signer.headers("POST", "/", digest, now=NOW)) == expected


def test_20_000_generated_requests_are_signed_as_botocore_does() -> None:
    """With a host, a region's scope, a day, a token, a path and a body of their own, for calls of each kind."""
    generator = random.Random(20_000)
    alphabet = [*map(chr, range(33, 127)), " ", "\x00", "\n", "ü", "é", "\u3042", "\U0001f600"]

    def text(most: int, letters: Sequence[str] = alphabet) -> str:
        return "".join(generator.choices(letters, k=generator.randint(1, most)))

    for _ in range(20_000):
        token = text(200, string.ascii_letters + string.digits + "+/=") if generator.random() < 0.5 else None
        credentials = Credentials(text(20, string.ascii_uppercase), text(40, string.printable[:94]), token)
        now = generator.randint(1_500_000_000, 2_000_000_000)
        date = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
        body = generator.randbytes(generator.randint(0, 64))
        digest = hashlib.sha256(body).hexdigest()
        host = f"{text(12, string.ascii_lowercase)}.eu-west-1.amazonaws.com"
        if generator.random() < 0.5:
            service, method = "execute-api", generator.choice(["POST", "GET", "DELETE"])
            quoted = urllib.parse.quote(f"A{text(20)}", safe="~")  # "." and ".." would be other paths
            path, canonical_path = f"/live/@connections/{quoted}", f"/live/%40connections/{urllib.parse.quote(quoted)}"
            headers = None
        else:
            service, method, path, canonical_path = (
                generator.choice(["dynamodb", "sqs", "secretsmanager"]),
                "POST",
                "/",
                "/",
            )
            headers = {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": text(20, string.ascii_letters)}
        signer = Signer(host, "eu-west-1", credentials, service, headers)
        expected = by_botocore(method, f"https://{host}{path}", body, credentials, date, service, headers)
        assert signer.fields(method, canonical_path, digest, now=now) == expected
        assert parse(signer.headers(method, canonical_path, digest, now=now)) == expected


@pytest.mark.parametrize("value", [" a", "a ", "a  b", "a\t"])
def test_headers_whose_spaces_a_signature_leaves_out_are_refused(value: str) -> None:
    with pytest.raises(ValueError, match="X-Amz-Target has spaces that a signature leaves out"):
        Signer("host", "eu-west-1", Credentials("AKID", "a secret"), "dynamodb", {"X-Amz-Target": value})
