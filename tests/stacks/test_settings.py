"""The settings of the stages, from the environment.

Longer than 400 lines, since it is one list of variables.
"""

from __future__ import annotations

from dataclasses import asdict

import pytest

from slip_sockets.dialects import Dialect
from slip_sockets.gateway.worker import Inbound
from slip_sockets.protocol.errors import InvalidSettings
from slip_sockets.protocol.tokens import secret_problem
from stacks.settings import StageSettings, read_settings

from ..conftest import KEY_OF_A_PAIR
from .synthesis import REQUIRED, SECRET

TARGET_URL_ADVICE = "Set it to the URL of your backend, which receives the events, e.g. https://app.example/slip"
SECRET_ADVICE = "Set it to a secret that your backend knows too, e.g. the output of: openssl rand -hex 32"
STACK_NAME_ADVICE = "Set it to 1 to 46 letters, digits and hyphens, a letter first"
BAD_MAILBOXES = (
    *("a..b@example.com", ".a@example.com", "a.@example.com", f"{'a' * 65}@example.com", "${x}@example.com", "@a.com"),
    *("a@-b.com", "a@b..com", "a@1.2.3.4", "a@b@example.com", "\u00e4@example.com", "a@caf\udce9.com", "a\x1b@b.com"),
)
DOMAIN_ADVICE = "Set it to a domain name of at most 64 characters in a zone of Route 53, e.g. ws.example.com"


def read(**settings: str) -> tuple[StageSettings, StageSettings]:
    """Return staging's and production's settings."""
    (staging, production), _ = read_settings(REQUIRED | settings)
    return staging, production


def problems(**settings: str) -> list[str]:
    with pytest.raises(InvalidSettings) as error:
        read(**settings)
    return error.value.problems


def test_target_and_secret_are_enough() -> None:
    staging, production = read()
    assert production == StageSettings(
        stage="production",
        stack_name="slip-sockets",
        target_url="https://app.example/slip",
        jwt_secret=SECRET,
        previous_secrets=(),
        region="us-east-1",
        region_source="the default: neither AWS_REGION nor the profile has a region",
        domain_name=None,
        hosted_zone_name=None,
        state_bucket=None,
        architecture="arm64",
        python="3.13",
        access_logs=False,
        deletion_protection=True,
        throttling_rate_limit=2_000,
        throttling_burst_limit=1_000,
        inbound=Inbound.DIRECT,
        inbound_retry_s=60,
        backend_protocol=Dialect.SLIP,
        grip_path_from="",
        grip_host="",
        occupancy_events=False,
        inline_limit=1_000,
        provisioned_concurrency=0,
        deliver_concurrency=100,
        fan_out_rate=8_000,
        alarm_email=None,
        tracing=False,
        log_retention_days=90,
    )
    assert asdict(staging) == asdict(production) | {
        "stage": "staging",
        "stack_name": "slip-sockets-staging",
        "deletion_protection": False,
        "throttling_rate_limit": 200,
        "throttling_burst_limit": 100,
    }


def test_every_setting_is_read() -> None:
    _, production = read(
        STACK_NAME="Chat2",
        JWT_PREVIOUS_SECRETS="old,,older",
        AWS_REGION="eu-central-1",
        DOMAIN_NAME="ws.example.co.uk",
        HOSTED_ZONE_NAME="example.co.uk",
        STATE_BUCKET="our-states",
        ACCESS_LOGS="true",
        INBOUND="ordered",
        INBOUND_RETRY_S="240",
        OCCUPANCY_EVENTS="true",
        INLINE_LIMIT="25",
        PROVISIONED_CONCURRENCY="2",
        DELIVER_CONCURRENCY="2",
        FAN_OUT_RATE="2500",
        ALARM_EMAIL="operators@example.com",
        TRACING="true",
        LAMBDA_ARCHITECTURE="x86_64",
        LAMBDA_PYTHON="3.12",
    )
    assert production.stack_name == "Chat2"
    assert production.previous_secrets == ("old", "older")
    assert production.region == "eu-central-1"
    assert production.domain_name == "ws.example.co.uk"
    assert production.hosted_zone_name == "example.co.uk"
    assert production.state_bucket == "our-states"
    assert production.access_logs is True
    assert production.inbound == "ordered"
    assert production.inbound_retry_s == 240
    assert production.occupancy_events is True
    assert production.inline_limit == 25
    assert production.provisioned_concurrency == 2
    assert production.deliver_concurrency == 2
    assert production.fan_out_rate == 2_500
    assert production.alarm_email == "operators@example.com"
    assert production.tracing is True
    assert production.architecture == "x86_64"
    assert production.python == "3.12"


def test_a_stage_overrides() -> None:
    staging, production = read(
        STAGING_TARGET_URL="http://staging.example:8080/",
        PRODUCTION_JWT_SECRET="another-secret-of-more-than-32-bytes",
        AWS_REGION="eu-central-1",
        STAGING_AWS_REGION="us-west-2",
        DOMAIN_NAME="ws.example.com",
        STAGING_DOMAIN_NAME="",
    )
    assert (staging.target_url, production.target_url) == ("http://staging.example:8080/", "https://app.example/slip")
    assert (staging.jwt_secret, production.jwt_secret) == (SECRET, "another-secret-of-more-than-32-bytes")
    assert (staging.region, production.region) == ("us-west-2", "eu-central-1")
    assert (staging.domain_name, production.domain_name) == (None, "ws.example.com")


def test_each_stage_may_have_its_own_and_nothing_common() -> None:
    own = {f"{stage}_{name}": value for stage in ("STAGING", "PRODUCTION") for name, value in REQUIRED.items()}
    (staging, production), _ = read_settings(own)
    assert staging.jwt_secret == production.jwt_secret == SECRET


@pytest.mark.parametrize(
    ("environ", "region"),
    [
        ({"AWS_DEFAULT_REGION": "eu-west-1"}, "eu-west-1"),
        ({"AWS_REGION": "eu-west-2", "AWS_DEFAULT_REGION": "eu-west-1"}, "eu-west-2"),
        ({"AWS_REGION": "", "AWS_DEFAULT_REGION": "ap-southeast-4"}, "ap-southeast-4"),
    ],
)
def test_region_is_the_one_of_the_aws_tools(environ: dict[str, str], region: str) -> None:
    assert [settings.region for settings in read(**environ)] == [region, region]


class TestDomain:
    def test_stagings_is_a_subdomain_of_productions(self) -> None:
        staging, production = read(DOMAIN_NAME="ws.example.com")
        assert (production.domain_name, production.hosted_zone_name) == ("ws.example.com", "example.com")
        assert (staging.domain_name, staging.hosted_zone_name) == ("staging.ws.example.com", "example.com")

    def test_staging_may_have_its_own(self) -> None:
        staging, _ = read(DOMAIN_NAME="ws.example.com", STAGING_DOMAIN_NAME="ws.staging.example.org")
        assert (staging.domain_name, staging.hosted_zone_name) == ("ws.staging.example.org", "example.org")

    def test_one_name_for_both_is_refused(self) -> None:
        assert problems(DOMAIN_NAME="ws.example.com", STAGING_DOMAIN_NAME="ws.example.com") == [
            "staging and production would both be at 'ws.example.com'. "
            "Set STAGING_DOMAIN_NAME to another domain name, or to nothing"
        ]

    def test_name_is_as_aws_stores_it(self) -> None:
        _, production = read(DOMAIN_NAME="WS.Example.com.", HOSTED_ZONE_NAME="Example.COM.")
        assert (production.domain_name, production.hosted_zone_name) == ("ws.example.com", "example.com")

    def test_zone_may_be_the_domain_itself(self) -> None:
        _, production = read(DOMAIN_NAME="example.com")
        assert production.hosted_zone_name == "example.com"

    def test_clients_connect_to_it(self) -> None:
        staging, production = read(DOMAIN_NAME="ws.example.com", STAGING_DOMAIN_NAME="")
        assert production.websocket_url == "wss://ws.example.com/"
        assert staging.websocket_url is None

    @pytest.mark.parametrize(
        "name",
        [
            "localhost",
            "ws..example.com",
            "-ws.example.com",
            "ws-.example.com",
            "w_s.example.com",
            "127.0.0.1",
            "https://ws.example.com",
            "*.example.com",
            "ws.exämple.com",
            f"{'a' * 64}.com",
            "ws.\u212axample.com",
            "ws.example.c",
            "ws.local",
            "ab--cd.example.com",
            "xn--a.example.com",
            "d1.cloudfront.net",
            f"{'a' * 30}.{'b' * 30}.com",
        ],
    )
    def test_impossible_one_is_refused(self, name: str) -> None:
        assert problems(DOMAIN_NAME=name) == [f"DOMAIN_NAME is {name!r}. {DOMAIN_ADVICE}"]

    @pytest.mark.parametrize("zone", ["example.org", "ple.com", "a.ws.example.com", ".", "com."])
    def test_zone_that_cannot_hold_it_is_refused(self, zone: str) -> None:
        shown = zone.removesuffix(".")
        assert problems(DOMAIN_NAME="ws.example.com", HOSTED_ZONE_NAME=zone) == [
            f"HOSTED_ZONE_NAME is {shown!r}. Set it to the zone in Route 53 that holds ws.example.com, e.g. example.com"
        ]

    def test_too_long_for_staging_is_refused(self) -> None:
        name = f"{'a' * 57}.com"
        assert problems(DOMAIN_NAME=name) == [
            f"staging's domain name, 'staging.{name}', is longer than 64 characters. "
            "Set STAGING_DOMAIN_NAME to a shorter one, or to nothing"
        ]
        assert read(DOMAIN_NAME=name, STAGING_DOMAIN_NAME="")[1].domain_name == name


class TestProblems:
    def test_all_are_reported_at_once_and_none_twice(self) -> None:
        with pytest.raises(InvalidSettings) as error:
            read_settings(
                {
                    "STACK_NAME": "1st",
                    "DOMAIN_NAME": "localhost",
                    "STATE_BUCKET": "Our_States",
                    "AWS_REGION": "europe",
                    "ACCESS_LOGS": "maybe",
                    "TRACING": "some",
                    "LAMBDA_ARCHITECTURE": "mips",
                    "STAGING_LAMBDA_PYTHON": "2.7",
                    "STAGING_TARGET_URL": "ftp://app.example",
                    "PRODUCTION_JWT_SECRET": "",
                }
            )
        assert str(error.value) == "\n".join(error.value.problems)
        assert sorted(error.value.problems) == sorted(
            [
                f"STACK_NAME is '1st'. {STACK_NAME_ADVICE}",
                f"STAGING_TARGET_URL 'ftp://app.example' is not an http or https URL. {TARGET_URL_ADVICE}",
                f"TARGET_URL is not set. {TARGET_URL_ADVICE}",
                f"JWT_SECRET is not set. {SECRET_ADVICE}",
                f"PRODUCTION_JWT_SECRET is not set. {SECRET_ADVICE}",
                "AWS_REGION is 'europe'. Set it to an AWS region, e.g. eu-central-1",
                f"DOMAIN_NAME is 'localhost'. {DOMAIN_ADVICE}",
                "STATE_BUCKET is 'Our_States'. Set it to the name of an S3 bucket that exists",
                "LAMBDA_ARCHITECTURE is 'mips'. Set it to one of arm64, x86_64",
                "STAGING_LAMBDA_PYTHON is '2.7'. Set it to one of 3.11, 3.12, 3.13",
                "ACCESS_LOGS is 'maybe'. Set it to one of true, false",
                "TRACING is 'some'. Set it to one of true, false",
            ]
        )

    @pytest.mark.parametrize("limit", ["-1", "2001", "1e3", "many", "\u0665"])
    def test_invalid_inline_limit(self, limit: str) -> None:
        assert problems(INLINE_LIMIT=limit) == [
            f"INLINE_LIMIT is {limit!r}. Set it to a number of subscribers, 0 to 2000"
        ]

    def test_more_warm_functions_than_an_account_has(self) -> None:
        assert problems(STAGING_PROVISIONED_CONCURRENCY="451") == [
            "STAGING_PROVISIONED_CONCURRENCY is '451'. Set it to a number of functions to keep warm, 0 to 450"
        ]

    @pytest.mark.parametrize("number", ["1", "1001", "-2", "many"])
    def test_invalid_deliver_concurrency(self, number: str) -> None:
        assert problems(DELIVER_CONCURRENCY=number) == [
            f"DELIVER_CONCURRENCY is {number!r}. Set it to a number of functions at once, 2 to 1000"
        ]

    @pytest.mark.parametrize("mode", ["Ordered", "queued", "true"])
    def test_invalid_inbound(self, mode: str) -> None:
        assert problems(INBOUND=mode) == [f"INBOUND is {mode!r}. Set it to one of direct, ordered"]

    def test_grip_comes_in_order(self) -> None:
        staging, production = read(STAGING_BACKEND_PROTOCOL="grip")
        assert (staging.backend_protocol, staging.inbound) == (Dialect.GRIP, "ordered")
        assert (production.backend_protocol, production.inbound) == (Dialect.SLIP, "direct")
        assert problems(BACKEND_PROTOCOL="grip", PRODUCTION_INBOUND="direct") == [
            "PRODUCTION_INBOUND is 'direct', and BACKEND_PROTOCOL is 'grip', in which requests come in order. "
            "Set it to ordered, or to nothing"
        ]
        assert problems(BACKEND_PROTOCOL="GRIP") == ["BACKEND_PROTOCOL is 'GRIP'. Set it to one of slip, grip"]

    def test_grip_has_no_events_of_channels(self) -> None:
        staging, production = read(OCCUPANCY_EVENTS="true", PRODUCTION_OCCUPANCY_EVENTS="false")
        assert (staging.occupancy_events, production.occupancy_events) == (True, False)
        assert problems(OCCUPANCY_EVENTS="true", STAGING_BACKEND_PROTOCOL="grip") == [
            "OCCUPANCY_EVENTS is 'true', and STAGING_BACKEND_PROTOCOL is 'grip', which has no such events. "
            "Set it to false, or to nothing"
        ]
        assert problems(OCCUPANCY_EVENTS="yes") == ["OCCUPANCY_EVENTS is 'yes'. Set it to one of true, false"]

    def test_where_requests_go_in_grip(self) -> None:
        staging, production = read(GRIP_PATH_FROM="query:p", STAGING_GRIP_PATH_FROM="host", GRIP_HOST="a.example:8080")
        assert (staging.grip_path_from, staging.grip_host) == ("host", "a.example:8080")
        assert (production.grip_path_from, production.grip_host) == ("query:p", "a.example:8080")

    @pytest.mark.parametrize("text", ["query", "query:", "query:${a}", "path", "host:1", "Host"])
    def test_invalid_grip_path_from(self, text: str) -> None:
        right = "host, or query: and the name of a parameter, e.g. query:path"
        assert problems(GRIP_PATH_FROM=text) == [f"GRIP_PATH_FROM is {text!r}. Set it to {right}"]

    @pytest.mark.parametrize("text", ["https://a.example", "a.example/", "a@b", "a..b", "a b", "${a}", "a?", "a:x"])
    def test_invalid_grip_host(self, text: str) -> None:
        right = "the host that your backend expects, e.g. app.example.com"
        assert problems(GRIP_HOST=text) == [f"GRIP_HOST is {text!r}. Set it to {right}"]

    @pytest.mark.parametrize("seconds", ["0", "9", "241", "1m", "60.5"])
    def test_invalid_inbound_retry_s(self, seconds: str) -> None:
        assert problems(STAGING_INBOUND_RETRY_S=seconds) == [
            f"STAGING_INBOUND_RETRY_S is {seconds!r}. Set it to a number of seconds, 10 to 240"
        ]

    @pytest.mark.parametrize("rate", ["0", "99", "100001", "8e3", "all"])
    def test_invalid_fan_out_rate(self, rate: str) -> None:
        assert problems(FAN_OUT_RATE=rate) == [
            f"FAN_OUT_RATE is {rate!r}. Set it to a number of calls a second, 100 to 100000"
        ]

    @pytest.mark.parametrize(
        "address", ["operators", "a@b", "a@b.com,c@d.com", "Ada <ada@example.com>", *BAD_MAILBOXES]
    )
    def test_invalid_alarm_email(self, address: str) -> None:
        assert problems(STAGING_ALARM_EMAIL=address) == [
            f"STAGING_ALARM_EMAIL is {address!r}. Set it to one mail address, e.g. operators@example.com"
        ]

    @pytest.mark.parametrize("address", ["a+b@example.com", "O'Neil@Example.com", "a@xn--bcher-kva.com"])
    def test_alarm_email_that_sns_takes(self, address: str) -> None:
        assert read(ALARM_EMAIL=address)[0].alarm_email == address

    def test_stack_names_that_differ_in_case_alone_are_refused(self) -> None:
        """A role of IAM would be both stages'."""
        assert problems(PRODUCTION_STACK_NAME="Chat-Staging", STAGING_STACK_NAME="chat") == [
            "staging and production would both be the stack 'Chat-Staging'. "
            "Set STAGING_STACK_NAME or PRODUCTION_STACK_NAME to another name"
        ]

    @pytest.mark.parametrize("name", ["1st", "my_app", "my app", "-a", "ä", "\u212a", "a" * 47, "a/b", "${x}"])
    def test_stack_name_that_aws_would_refuse(self, name: str) -> None:
        assert problems(STACK_NAME=name) == [f"STACK_NAME is {name!r}. {STACK_NAME_ADVICE}"]

    @pytest.mark.parametrize("name", ["a", "A-b-9", "a" * 46, "aws-chat"])
    def test_stack_name_that_aws_accepts(self, name: str) -> None:
        assert [settings.stack_name for settings in read(STACK_NAME=name)] == [f"{name}-staging", name]

    @pytest.mark.parametrize(
        "name",
        [
            *("ab", "a" * 64, "Our-states", "our_states", "-ours", "ours-", ".ours", "ours.", "our..states"),
            *("192.168.5.4", "xn--ours", "sthree-ours", "amzn-s3-demo-ours", "ours-s3alias", "ours--ol-s3"),
            *("ours.mrap", "ours--x-s3", "ours--table-s3", "s3://ours", "our\u0661states"),
        ],
    )
    def test_bucket_name_that_s3_refuses(self, name: str) -> None:
        assert problems(STATE_BUCKET=name) == [
            f"STATE_BUCKET is {name!r}. Set it to the name of an S3 bucket that exists"
        ]

    @pytest.mark.parametrize("name", ["abc", "a" * 63, "our.states", "our--states", "1.2.3", "192.168.5.4a", "xn-ours"])
    def test_bucket_name_that_s3_takes(self, name: str) -> None:
        assert read(STATE_BUCKET=name)[0].state_bucket == name

    def test_one_stack_name_for_both_is_refused(self) -> None:
        assert problems(PRODUCTION_STACK_NAME="chat-staging", STAGING_STACK_NAME="chat") == [
            "staging and production would both be the stack 'chat-staging'. "
            "Set STAGING_STACK_NAME or PRODUCTION_STACK_NAME to another name"
        ]

    @pytest.mark.parametrize(
        "url",
        [
            "app.example/slip",
            "ftp://app.example/",
            "https://",
            "https:///slip",
            "https://app.example:99999/",
            "https://app.example:0/",
            "https://[::1/",
            "https://app.example/a b",
            " https://app.example/",
            "https://app.example/\n",
            "https://app.example/${aws_region}",
            "https://app.example/\nslip",
            "https://app.example/\udce4",
        ],
    )
    def test_invalid_target_url(self, url: str) -> None:
        assert problems(TARGET_URL=url) == [f"TARGET_URL {url!r} is not an http or https URL. {TARGET_URL_ADVICE}"]

    @pytest.mark.parametrize(
        "url", ["http://127.0.0.1:8000/", "https://[::1]:8000/a?b=c", "https://user:pass@ä.example"]
    )
    def test_valid_target_url(self, url: str) -> None:
        assert read(TARGET_URL=url)[0].target_url == url


class TestSecrets:
    def test_short_one_is_a_warning(self) -> None:
        _, warnings = read_settings(REQUIRED | {"JWT_SECRET": "change-me", "STAGING_JWT_SECRET": "ä" * 15})
        assert warnings == [
            "STAGING_JWT_SECRET has 30 bytes; HS256 wants 32",
            "JWT_SECRET has 9 bytes; HS256 wants 32",
        ]

    def test_long_one_is_not_a_warning(self) -> None:
        assert read_settings(REQUIRED | {"JWT_SECRET": "ä" * 16})[1] == []

    def test_it_is_not_stripped(self) -> None:
        secret = "  spaces, a ${template} and a \n line belong to it "
        assert read(JWT_SECRET=secret)[0].jwt_secret == secret

    def test_one_with_a_comma_is_a_warning(self) -> None:
        """It works, but a rotation would refuse requests."""
        assert read_settings(REQUIRED | {"JWT_SECRET": "a" * 32 + ","})[1] == [
            "JWT_SECRET contains a comma, so that JWT_PREVIOUS_SECRETS cannot list it when you change it. "
            "Set it to a secret without commas"
        ]

    def test_those_too_long_for_secrets_manager_are_refused_and_not_quoted(self) -> None:
        read(JWT_SECRET="s" * 65_532)
        assert problems(JWT_SECRET="s" * 65_533) == ["JWT_SECRET: 65537 bytes as JSON, 65536 at most. Set shorter ones"]
        assert problems(JWT_SECRET="<" * 12_000) == ["JWT_SECRET: 72004 bytes as JSON, 65536 at most. Set shorter ones"]
        assert problems(JWT_SECRET="s" * 40, STAGING_JWT_PREVIOUS_SECRETS="t" * 65_490) == [
            "JWT_SECRET and STAGING_JWT_PREVIOUS_SECRETS together: 65538 bytes as JSON, 65536 at most. Set shorter ones"
        ]
        assert problems(JWT_SECRET="a secret\udcff") == ["JWT_SECRET is not UTF-8. Set it to text"]

    def test_an_asymmetric_key_is_refused_and_not_quoted(self) -> None:
        problem = secret_problem(KEY_OF_A_PAIR)
        assert problem is not None
        assert problem.startswith("looks like an asymmetric key or a certificate. ")
        assert problems(JWT_SECRET=KEY_OF_A_PAIR) == [f"JWT_SECRET {problem}"]
        assert problems(JWT_PREVIOUS_SECRETS=f"an old one,{KEY_OF_A_PAIR}") == [
            f"JWT_PREVIOUS_SECRETS has a secret that {problem}"
        ]

    def test_all_count_to_the_letter_and_blanks_at_their_ends_are_a_warning(self) -> None:
        """A secret that ends in a newline goes on verifying while it is rotated."""
        current, previous = f"{SECRET} ", f"{SECRET}\n,another"
        stages, warnings = read_settings(REQUIRED | {"JWT_SECRET": current, "JWT_PREVIOUS_SECRETS": previous})
        assert (stages[0].jwt_secret, stages[0].previous_secrets) == (current, (f"{SECRET}\n", "another"))
        assert warnings == [
            "JWT_SECRET ends with a space, which counts. If it is there by mistake, take it off on both sides",
            "JWT_PREVIOUS_SECRETS has a secret that ends with a newline, which counts. If it is there by mistake, "
            "take it off on both sides",
        ]
