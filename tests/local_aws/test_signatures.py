"""Signatures are recomputed: a request that was signed wrongly is refused as AWS refuses it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import boto3
import pytest
import requests
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from local_aws import LocalAws, Strictness
from slip_sockets.aws import sigv4
from slip_sockets.aws.sigv4 import Signer

from .cloud import ASSUMED_BY_LAMBDA, TIMEOUT_S, Cloud, allow, settings

WRONG = (
    "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key "
    "and signing method. Consult the service documentation for details."
)
INVALID = "The security token included in the request is invalid."
PROTOCOLS: dict[str, Callable[[Any], Any]] = {
    "dynamodb": lambda client: client.list_tables(),
    "sqs": lambda client: client.list_queues(),
    "lambda": lambda client: client.list_functions(),
    "iam": lambda client: client.list_roles(),
    "s3": lambda client: client.list_buckets(),
}
"""JSON, JSON with names of the query protocol, JSON over REST, query, and XML over REST."""

Keys = tuple[str, str, str | None]


def client(aws: LocalAws, service: str, keys: Keys = ("local", "local", None)) -> Any:
    session: Any = boto3.session.Session(*keys, region_name="us-east-1")
    version = "s3v4" if service == "s3" else None  # boto3 signs URLs of S3 by version 2 otherwise
    config = Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}, signature_version=version)
    return session.client(service, endpoint_url=aws.url, config=config)


def refusal(aws: LocalAws, service: str, keys: Keys = ("local", "local", None), **hooks: Any) -> tuple[int, str, str]:
    """Return status, code and message with which a call is refused; `sending` may change the signed request."""
    caller = client(aws, service, keys)
    if "sending" in hooks:
        caller.meta.events.register("before-send", lambda request, **_: hooks["sending"](request))
    with pytest.raises(ClientError) as raised:
        PROTOCOLS[service](caller)
    error = raised.value.response["Error"]
    return raised.value.response["ResponseMetadata"]["HTTPStatusCode"], error["Code"], error["Message"]


@pytest.mark.parametrize("service", PROTOCOLS)
def test_right_signature_is_accepted(aws: LocalAws, service: str) -> None:
    assert PROTOCOLS[service](client(aws, service))["ResponseMetadata"]["HTTPStatusCode"] == 200


@pytest.mark.parametrize(
    ("service", "status", "code"),
    [
        ("dynamodb", 400, "InvalidSignatureException"),
        ("sqs", 400, "InvalidSignature"),
        ("lambda", 403, "InvalidSignatureException"),
        ("iam", 403, "SignatureDoesNotMatch"),
        ("s3", 403, "SignatureDoesNotMatch"),
    ],
)
def test_wrong_secret_is_refused(aws: LocalAws, service: str, status: int, code: str) -> None:
    assert refusal(aws, service, ("local", "remote", None)) == (status, code, WRONG)


@pytest.mark.parametrize(
    ("service", "code"),
    [
        ("dynamodb", "UnrecognizedClientException"),
        ("lambda", "UnrecognizedClientException"),
        ("iam", "InvalidClientTokenId"),
        ("s3", "InvalidAccessKeyId"),
    ],
)
def test_unknown_key_is_refused(aws: LocalAws, service: str, code: str) -> None:
    assert refusal(aws, service, ("AKIAUNKNOWN", "local", None))[1:] == (code, INVALID)


def test_key_of_a_user_is_known_until_it_is_inactive(aws: LocalAws, cloud: Cloud) -> None:
    iam = cloud.client("iam")
    iam.create_user(UserName="ada")
    allowed = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "iam:List*", "Resource": "*"}]}
    iam.put_user_policy(UserName="ada", PolicyName="lists", PolicyDocument=json.dumps(allowed))
    made = iam.create_access_key(UserName="ada")["AccessKey"]
    key: Keys = (made["AccessKeyId"], made["SecretAccessKey"], None)
    assert "Users" in client(aws, "iam", key).list_users()
    assert refusal(aws, "iam", (key[0], "other", None))[1] == "SignatureDoesNotMatch"
    iam.update_access_key(UserName="ada", AccessKeyId=key[0], Status="Inactive")
    assert refusal(aws, "iam", key)[1] == "InvalidClientTokenId"


def test_assumed_role_needs_its_own_session_token(aws: LocalAws, cloud: Cloud) -> None:
    role = cloud.client("iam").create_role(RoleName="deployer", AssumeRolePolicyDocument=ASSUMED_BY_LAMBDA)["Role"]
    made = cloud.client("sts").assume_role(RoleArn=role["Arn"], RoleSessionName="session")["Credentials"]
    key_id, secret, token = made["AccessKeyId"], made["SecretAccessKey"], made["SessionToken"]
    assert "TableNames" in client(aws, "dynamodb", (key_id, secret, token)).list_tables()
    for wrong in (None, token[:-1]):
        assert refusal(aws, "dynamodb", (key_id, secret, wrong))[1:] == ("UnrecognizedClientException", INVALID)


def test_changed_body_path_and_header_are_refused(aws: LocalAws) -> None:
    def body(request: Any) -> None:
        request.body = b'{"Limit": 1}'
        request.headers["Content-Length"] = str(len(request.body))

    def target(request: Any) -> None:
        request.headers["X-Amz-Target"] = "DynamoDB_20120810.DescribeLimits"

    def path(request: Any) -> None:
        request.url += "%20"

    def query(request: Any) -> None:
        request.url += "?MaxItems=1"

    for change, service in ((body, "dynamodb"), (target, "dynamodb"), (path, "lambda"), (query, "lambda")):
        assert refusal(aws, service, sending=change)[1:] == ("InvalidSignatureException", WRONG)


def test_header_of_aws_that_was_not_signed_is_refused(aws: LocalAws) -> None:
    def add(request: Any) -> None:
        request.headers["X-Amz-Meta"] = "1"

    message = "There were headers present in the request which were not signed: x-amz-meta"
    assert refusal(aws, "dynamodb", sending=add) == (400, "InvalidSignatureException", message)


def test_missing_and_incomplete_signatures_are_refused(aws: LocalAws) -> None:
    def remove(request: Any) -> None:
        del request.headers["Authorization"]

    def cut(request: Any) -> None:
        whole = request.headers["Authorization"].decode()
        request.headers["Authorization"] = whole.partition(", Signature")[0]

    missing = (400, "MissingAuthenticationTokenException", "Missing Authentication Token")
    assert refusal(aws, "dynamodb", sending=remove) == missing
    status, code, message = refusal(aws, "dynamodb", sending=cut)
    assert (status, code) == (400, "IncompleteSignatureException")
    assert message.startswith("Authorization header requires 'Signature' parameter.")


def test_credentials_that_cannot_be_read_are_refused(aws: LocalAws) -> None:
    def spaced(request: Any) -> None:
        request.headers["Authorization"] = request.headers["Authorization"].replace(b" Credential", b"  Credential")

    def empty(request: Any) -> None:
        request.headers["Authorization"] = ""

    def binary(request: Any) -> None:
        request.headers["X-Amz-Security-Token"] = b"\xff"

    # Otherwise the signature would be right, and its key not that of which permissions are checked.
    assert refusal(aws, "dynamodb", sending=spaced)[:2] == (400, "IncompleteSignatureException")
    assert refusal(aws, "dynamodb", sending=empty)[:2] == (400, "IncompleteSignatureException")
    assert refusal(aws, "dynamodb", sending=binary) == (400, "UnrecognizedClientException", INVALID)


def test_presigned_url_is_checked(aws: LocalAws) -> None:
    s3 = client(aws, "s3")
    s3.create_bucket(Bucket="presigned")
    s3.put_object(Bucket="presigned", Key="a b/ü", Body=b"hello")
    url = s3.generate_presigned_url("get_object", Params={"Bucket": "presigned", "Key": "a b/ü"})
    assert requests.get(url, timeout=TIMEOUT_S).text == "hello"
    refused = requests.get(url.replace("X-Amz-Expires=3600", "X-Amz-Expires=9999"), timeout=TIMEOUT_S)
    assert (refused.status_code, "<Code>SignatureDoesNotMatch</Code>" in refused.text) == (403, True)
    binary = requests.get(url.partition("Signature=")[0] + "Signature=%C3%BC", timeout=TIMEOUT_S)
    assert (binary.status_code, "<Code>SignatureDoesNotMatch</Code>" in binary.text) == (403, True)


@pytest.mark.parametrize("lifetime_s", ["604801", "0", "inf"])
def test_presigned_url_of_more_than_a_week_is_refused(aws: LocalAws, lifetime_s: str) -> None:
    url = client(aws, "s3").generate_presigned_url("list_buckets", ExpiresIn=lifetime_s)
    refused = requests.get(url, timeout=TIMEOUT_S)
    assert (refused.status_code, "X-Amz-Expires must be from 1 to 604800" in refused.text) == (403, True)


# Our own signer


class ByOurSigner:
    """Lists tables with a request that `slip_sockets.aws.sigv4` signs."""

    def __init__(self, aws: LocalAws) -> None:
        self._aws = aws

    def refusal(
        self,
        keys: Keys = ("local", "local", None),
        *,
        region: str = "us-east-1",
        late_s: float = 0,
        body: bytes = b"{}",
    ) -> tuple[int, str, str] | None:
        headers = {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": "DynamoDB_20120810.ListTables"}
        host = self._aws.url.removeprefix("http://")
        signer = Signer(host, region, Credentials(*keys), "dynamodb", headers)
        fields = signer.fields("POST", "/", sha256(b"{}").hexdigest(), now=time.time() - late_s)
        response = requests.post(self._aws.url, body, headers=fields, timeout=TIMEOUT_S)
        error = response.json()
        if response.ok:
            assert "TableNames" in error
            return None
        return response.status_code, error["__type"].rpartition("#")[2], error["message"]


def test_our_signer_is_checked_like_boto3(aws: LocalAws) -> None:
    ours = ByOurSigner(aws)
    assert ours.refusal() is None
    assert ours.refusal(late_s=240) is None
    assert ours.refusal(("local", "remote", None)) == (400, "InvalidSignatureException", WRONG)
    assert ours.refusal(body=b'{"Limit": 1}') == (400, "InvalidSignatureException", WRONG)
    for keys in (("AKIAUNKNOWN", "local", None), ("local", "local", "a token")):
        assert ours.refusal(keys) == (400, "UnrecognizedClientException", INVALID)
    for late_s, why in ((400, "Signature expired: "), (-400, "Signature not yet current: ")):
        found = ours.refusal(late_s=late_s)
        assert found is not None
        assert (found[0], found[1], found[2].startswith(why)) == (400, "InvalidSignatureException", True)


LISTS_TABLES = """
import hashlib, os, time, urllib.error, urllib.request
from types import SimpleNamespace

def handler(event, context):
    keys = SimpleNamespace(
        access_key=os.environ["AWS_ACCESS_KEY_ID"],
        secret_key=os.environ["AWS_SECRET_ACCESS_KEY"],
        token=os.environ["AWS_SESSION_TOKEN"],
    )
    headers = {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": "DynamoDB_20120810.ListTables"}
    url = os.environ["AWS_ENDPOINT_URL"]
    signer = Signer(url.removeprefix("http://"), os.environ["AWS_REGION"], keys, "dynamodb", headers)
    fields = signer.fields("POST", "/", hashlib.sha256(b"{}").hexdigest(), now=time.time())
    try:
        return urllib.request.urlopen(urllib.request.Request(url, b"{}", fields)).read().decode()
    except urllib.error.HTTPError as error:
        return error.read().decode()
"""
RIGHT_AND_BROKEN = {
    "right": ("", "", "TableNames"),
    "session token left out": ("if self._credentials.token:", "if False:", "#UnrecognizedClientException"),
    "headers not in order": ("sorted(signed, key=str.lower)", "[*signed]", "#InvalidSignatureException"),
    "local time": ("time.gmtime(second)", "time.gmtime(second + 3600)", "#InvalidSignatureException"),
    "key of another region": (
        'scope.split("/")',
        'scope.replace("us-", "eu-").split("/")',
        "#InvalidSignatureException",
    ),
}


@pytest.mark.parametrize("name", RIGHT_AND_BROKEN)
def test_function_with_a_broken_signer_fails(cloud: Cloud, name: str) -> None:
    found, broken, answer = RIGHT_AND_BROKEN[name]
    source = Path(sigv4.__file__).read_text()
    if found:
        assert source.count(found) == 1
        source = source.replace(found, broken)
    function = cloud.function(source + LISTS_TABLES, allow("dynamodb:ListTables", "*"))
    assert answer in function.call()


# Clocks


@pytest.fixture(scope="module", params=[-400.0, 400.0])
def shifted(request: pytest.FixtureRequest) -> Iterator[LocalAws]:
    with LocalAws(replace(settings(), strictness=Strictness(clock_shift_s=request.param))) as aws:
        yield aws


@pytest.mark.parametrize(
    ("service", "code"), [("dynamodb", "InvalidSignatureException"), ("iam", "SignatureDoesNotMatch")]
)
def test_date_of_over_five_minutes_away_is_refused(shifted: LocalAws, service: str, code: str) -> None:
    is_ahead = shifted.settings.strictness.clock_shift_s > 0
    found = refusal(shifted, service)
    assert found[1] == code
    assert found[2].startswith("Signature expired: " if is_ahead else "Signature not yet current: ")
    assert found[2].endswith(" - 5 min.)" if is_ahead else " + 5 min.)")


def test_s3_takes_a_date_of_up_to_fifteen_minutes_away(shifted: LocalAws) -> None:
    assert "Buckets" in client(shifted, "s3").list_buckets()


def test_date_of_four_minutes_away_is_accepted() -> None:
    with LocalAws(replace(settings(), strictness=Strictness(clock_shift_s=240))) as aws:
        assert "TableNames" in client(aws, "dynamodb").list_tables()


def test_expired_key_of_a_function_is_refused() -> None:
    with LocalAws(replace(settings(), strictness=Strictness(key_lifetime_s=-1))) as aws:
        function = Cloud(aws).function(
            "import boto3\ndef handler(event, context): return boto3.client('dynamodb').list_tables()",
            allow("dynamodb:*", "*"),
        )
        error = function.fail()["errorMessage"]
    assert "(ExpiredTokenException)" in error
    assert "The security token included in the request is expired" in error


# The management API


def test_management_calls_are_checked(cloud: Cloud) -> None:
    api = cloud.api("WEBSOCKET", RouteSelectionExpression="$request.body.action")
    api.stage("live")
    url = f"{cloud.url}/{api.api_id}/live/@connections/L0SM9cOFvHcCIhw="

    def post(secret: str, region: str = "us-east-1") -> tuple[int, str, str]:
        signed = AWSRequest("POST", url.replace("=", "%3D"), data=b"hello")
        SigV4Auth(Credentials("local", secret), "execute-api", region).add_auth(signed)
        prepared = signed.prepare()
        response = requests.post(prepared.url, b"hello", headers=dict(prepared.headers), timeout=TIMEOUT_S)
        return response.status_code, response.headers["x-amzn-ErrorType"], json.loads(response.content)["message"]

    assert post("local")[:2] == (410, "GoneException")
    assert post("remote") == (403, "InvalidSignatureException", WRONG)
    assert post("local", "eu-central-1")[:2] == (403, "InvalidSignatureException")
