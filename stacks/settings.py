"""The settings of a deployment: read once from the environment, typed; each problem says what to set."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar
from urllib.parse import urlsplit

from slip_sockets.dialects import Dialect
from slip_sockets.gateway.delivery_rate import DEFAULT_FAN_OUT_RATE, MAX_FAN_OUT_RATE, MIN_FAN_OUT_RATE
from slip_sockets.gateway.fan_out import INLINE_LIMIT
from slip_sockets.gateway.worker import DEFAULT_INBOUND_RETRY_S, MAX_INBOUND_RETRY_S, MIN_INBOUND_RETRY_S, Inbound
from slip_sockets.grip.routing import RIGHT_HOST, RIGHT_PATH_FROM, is_host, is_path_from
from slip_sockets.protocol.errors import InvalidSettings
from slip_sockets.protocol.quoting import quoted
from slip_sockets.protocol.tokens import RECOMMENDED_SECRET_BYTES, secret_problem, secret_warning, split_secrets
from slip_sockets.protocol.urls import is_local, quoted_url, url_problem

from .domain_names import is_domain
from .regions import DEFAULT_REGION, profile_name, profile_region, region_problem, region_warning

T = TypeVar("T", bound=str)

Stage = Literal["staging", "production"]
STAGES: tuple[Stage, ...] = ("staging", "production")

Architecture = Literal["arm64", "x86_64"]
ARCHITECTURES: tuple[Architecture, ...] = ("arm64", "x86_64")
PYTHONS = ("3.11", "3.12", "3.13")

DEFAULT_STACK_NAME = "slip-sockets"
MAX_STACK_NAME_LENGTH = 64 - len("-staging-websocket")
"""A Lambda function and an IAM role are named `<stack>-staging-websocket`; both may have 64 characters.
https://docs.aws.amazon.com/lambda/latest/api/API_CreateFunction.html"""
MAX_DOMAIN_LENGTH = 64
"""https://docs.aws.amazon.com/acm/latest/APIReference/API_RequestCertificate.html"""
MAX_SECRETS_BYTES = 65_536
"""Size limit of a secret in Secrets Manager, which holds JWT_SECRET and all JWT_PREVIOUS_SECRETS as JSON.
https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_limits.html"""

MAX_INLINE_LIMIT = 2_000
"""Even a slow function sends to this number of subscribers within 5 seconds, for which the publisher waits."""

MAX_PROVISIONED_CONCURRENCY = 450
"""An account has 1,000 by default, and Lambda keeps 100 for functions without a reservation. During a deploy the old
version and the new one have this number each.
https://docs.aws.amazon.com/lambda/latest/dg/provisioned-concurrency.html"""
DELIVER_CONCURRENCY = 100
"""Enough for the default quota of the management API, and a tenth of an account's default concurrency, so that a
fan-out leaves the rest to connects and calls."""
MIN_DELIVER_CONCURRENCY, MAX_DELIVER_CONCURRENCY = 2, 1_000
"""https://docs.aws.amazon.com/lambda/latest/api/API_ScalingConfig.html"""

_STACK_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]*")
_BUCKET_NAME = re.compile(
    r"(?!xn--|sthree-|amzn-s3-demo-)(?!(\d+\.){3}\d+\Z)(?!.*\.\.)[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]"
    r"(?<!-s3alias)(?<!--ol-s3)(?<!\.mrap)(?<!--x-s3)(?<!--table-s3)",
    re.ASCII,
)
"""https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html"""
_MAILBOX = re.compile(r"(?=.{1,64}\Z)[A-Za-z0-9!#$%&'*+/=?^_`|~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`|~-]+)*")
"""The dot-string of RFC 5321, section 4.1.2, without braces, because Terraform expands `${...}`."""
MAX_EMAIL_LENGTH = 254
"""RFC 5321, section 4.5.3.1.3: a path of 256 octets, its angle brackets included."""


@dataclass(frozen=True, slots=True)
class StageSettings:
    """Everything in which staging and production differ. Nothing else may differ.

    `jwt_secret` and `previous_secrets` are secret: they go to a private file or to Terraform's environment, never into
    a stack. `region_source` names what sets the region. `hosted_zone_name` is None without a `domain_name`;
    `state_bucket` is None for local state. A publish to more than `inline_limit` subscribers goes through the queue,
    which at most `deliver_concurrency` functions read at once. Together they make at most `fan_out_rate` calls of the
    management API a second. `provisioned_concurrency` environments of the function for which clients wait are kept
    warm: docs/cost.md. With `deletion_protection` neither AWS nor Terraform deletes the tables and queues.
    Alarms are mailed to `alarm_email`; with None they are not mailed.

    Backend and publishers speak `backend_protocol`; `grip_path_from` and `grip_host`, "" if not set, are GRIP's. With
    `inbound` ordered, as always in GRIP, texts and disconnects go to the backend through a queue, in order; texts that
    it does not take are sent again for `inbound_retry_s` seconds. With `occupancy_events`, which GRIP has not, the
    backend receives OCCUPIED and VACATED.
    """

    stage: Stage
    stack_name: str
    target_url: str
    jwt_secret: str
    previous_secrets: tuple[str, ...]
    region: str
    region_source: str
    domain_name: str | None
    hosted_zone_name: str | None
    state_bucket: str | None
    architecture: Architecture
    python: str
    access_logs: bool
    deletion_protection: bool
    throttling_rate_limit: float
    throttling_burst_limit: int
    backend_protocol: Dialect
    grip_path_from: str
    grip_host: str
    inbound: Inbound
    inbound_retry_s: int
    occupancy_events: bool
    inline_limit: int
    provisioned_concurrency: int
    deliver_concurrency: int
    fan_out_rate: int
    alarm_email: str | None
    tracing: bool
    log_retention_days: int = 90

    @property
    def websocket_url(self) -> str | None:
        """The URL for clients; None where API Gateway assigns it."""
        return f"wss://{self.domain_name}/" if self.domain_name else None


def read_settings(environ: Mapping[str, str]) -> tuple[list[StageSettings], list[str]]:
    """Return each stage's settings, and warnings. Raises InvalidSettings with a line for each problem of all stages.

    `STAGING_X` and `PRODUCTION_X` override `X` for one stage.
    """
    problems: list[str] = []
    warnings: list[str] = []
    stages = [_Reader(stage, environ, problems, warnings).read() for stage in STAGES]
    problems += _conflicts(*stages)
    if problems:
        raise InvalidSettings(list(dict.fromkeys(problems)))
    return stages, list(dict.fromkeys(warnings))


def _conflicts(staging: StageSettings, production: StageSettings) -> list[str]:
    """Return the settings that would make the stages collide."""
    conflicts = []
    # IAM takes names that differ in case alone for one.
    # https://docs.aws.amazon.com/IAM/latest/APIReference/API_CreateRole.html
    if staging.stack_name.lower() == production.stack_name.lower():
        conflicts.append(
            f"staging and production would both be the stack {quoted(production.stack_name)}. "
            "Set STAGING_STACK_NAME or PRODUCTION_STACK_NAME to another name"
        )
    if staging.domain_name is not None and staging.domain_name == production.domain_name:
        conflicts.append(
            f"staging and production would both be at {staging.domain_name!r}. "
            "Set STAGING_DOMAIN_NAME to another domain name, or to nothing"
        )
    return conflicts


class _Reader:
    """Reads one stage's settings and collects their problems."""

    def __init__(self, stage: Stage, environ: Mapping[str, str], problems: list[str], warnings: list[str]) -> None:
        self._stage = stage
        self._environ = environ
        self._problems = problems
        self._warnings = warnings

    def read(self) -> StageSettings:
        production = self._stage == "production"
        stack_name, target_url = self._stack_name(), self._target_url()  # in this order problems are reported
        secret, previous_secrets = self._secrets()
        region, region_source = self._region()
        domain_name, hosted_zone_name = self._domain()
        backend_protocol = self._one_of("BACKEND_PROTOCOL", tuple(Dialect), Dialect.SLIP)
        architecture = self._one_of("LAMBDA_ARCHITECTURE", ARCHITECTURES, "arm64")
        if unknown := region_warning(region, architecture):
            self._warnings.append(unknown)
        return StageSettings(
            stage=self._stage,
            stack_name=stack_name,
            target_url=target_url,
            jwt_secret=secret,
            previous_secrets=previous_secrets,
            region=region,
            region_source=region_source,
            domain_name=domain_name,
            hosted_zone_name=hosted_zone_name,
            state_bucket=self._text("STATE_BUCKET", _BUCKET_NAME.fullmatch, "the name of an S3 bucket that exists")
            or None,
            architecture=architecture,
            python=self._one_of("LAMBDA_PYTHON", PYTHONS, "3.13"),
            access_logs=self._flag("ACCESS_LOGS"),
            deletion_protection=self._flag("DELETION_PROTECTION", production),
            throttling_rate_limit=2_000 if production else 200,
            throttling_burst_limit=1_000 if production else 100,
            backend_protocol=backend_protocol,
            grip_path_from=self._text("GRIP_PATH_FROM", is_path_from, RIGHT_PATH_FROM),
            grip_host=self._text("GRIP_HOST", is_host, RIGHT_HOST),
            inbound=self._inbound(backend_protocol),
            inbound_retry_s=self._number(
                "INBOUND_RETRY_S", DEFAULT_INBOUND_RETRY_S, MIN_INBOUND_RETRY_S, MAX_INBOUND_RETRY_S, "of seconds"
            ),
            occupancy_events=self._occupancy_events(backend_protocol),
            inline_limit=self._number("INLINE_LIMIT", INLINE_LIMIT, 0, MAX_INLINE_LIMIT, "of subscribers"),
            provisioned_concurrency=self._number(
                "PROVISIONED_CONCURRENCY", 0, 0, MAX_PROVISIONED_CONCURRENCY, "of functions to keep warm"
            ),
            deliver_concurrency=self._number(
                "DELIVER_CONCURRENCY",
                DELIVER_CONCURRENCY,
                MIN_DELIVER_CONCURRENCY,
                MAX_DELIVER_CONCURRENCY,
                "of functions at once",
            ),
            fan_out_rate=self._number(
                "FAN_OUT_RATE", DEFAULT_FAN_OUT_RATE, MIN_FAN_OUT_RATE, MAX_FAN_OUT_RATE, "of calls a second"
            ),
            alarm_email=self._alarm_email(),
            tracing=self._flag("TRACING"),
        )

    def _name(self, name: str) -> str:
        """Return the name of the variable that applies to this stage."""
        override = f"{self._stage.upper()}_{name}"
        return override if override in self._environ else name

    def _value(self, name: str, default: str) -> str:
        return self._environ.get(self._name(name), "").strip() or default

    def _stack_name(self) -> str:
        name = self._value("STACK_NAME", DEFAULT_STACK_NAME)
        if not _STACK_NAME.fullmatch(name) or len(name) > MAX_STACK_NAME_LENGTH:
            self._wrong("STACK_NAME", name, f"1 to {MAX_STACK_NAME_LENGTH} letters, digits and hyphens, a letter first")
        return name if self._stage == "production" else f"{name}-staging"

    def _target_url(self) -> str:
        example = "the URL of your backend, which receives the events, e.g. https://app.example/slip"
        value = self._environ.get(self._name("TARGET_URL"), "")  # to the letter, as all that takes it
        if not value:
            self._problems.append(f"{self._name('TARGET_URL')} is not set. Set it to {example}")
        elif problem := url_problem(value):
            self._problems.append(f"{self._name('TARGET_URL')} {quoted_url(value)} is {problem}. Set it to {example}")
        elif is_local(host := urlsplit(value).hostname or ""):
            self._warnings.append(
                f"{self._name('TARGET_URL')}: the functions cannot reach {host!r}. Set it to a public URL"
            )
        return value

    def _secrets(self) -> tuple[str, tuple[str, ...]]:
        """Return the secret that signs, and those still accepted. No problem or warning quotes a value."""
        name, previous_name = self._name("JWT_SECRET"), self._name("JWT_PREVIOUS_SECRETS")
        secret = self._environ.get(name, "")
        previous = split_secrets(self._environ.get(previous_name, ""))
        secrets = (secret, *previous)
        named = [(name, secret), *((f"{previous_name} has a secret that", each) for each in previous)]
        if not secret:
            advice = "Set it to a secret that your backend knows too, e.g. the output of: openssl rand -hex 32"
            self._problems.append(f"{name} is not set. {advice}")
        elif problems := [f"{what} {problem}" for what, each in named if (problem := secret_problem(each))]:
            self._problems += problems
        else:
            self._check_sizes(name, previous_name, secrets)
            self._warnings += [f"{what} {warning}" for what, each in named if (warning := secret_warning(each))]
        return secret, previous

    def _check_sizes(self, name: str, previous_name: str, secrets: Sequence[str]) -> None:
        secret = secrets[0]
        # The size that Terraform's jsonencode makes of them: it escapes some characters that Python does not.
        stored = json.dumps(secrets, ensure_ascii=False)
        size = len(stored.encode()) + sum(5 for character in stored if character in "<>&\u2028\u2029")
        if size > MAX_SECRETS_BYTES:
            names = name if len(secrets) == 1 else f"{name} and {previous_name} together"
            self._problems.append(f"{names}: {size} bytes as JSON, {MAX_SECRETS_BYTES} at most. Set shorter ones")
        elif len(secret.encode()) < RECOMMENDED_SECRET_BYTES:
            self._warnings.append(f"{name} has {len(secret.encode())} bytes; HS256 wants {RECOMMENDED_SECRET_BYTES}")
        if "," in secret:
            self._warnings.append(
                f"{name} contains a comma, so that {previous_name} cannot list it when you change it. "
                "Set it to a secret without commas"
            )

    def _region(self) -> tuple[str, str]:
        """Return the region and where it is set: the variables that AWS's own tools read, then the profile."""
        for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
            region, source = self._value(name, ""), self._name(name)
            if region:
                break
        else:
            source = f"the region of the profile {quoted(profile_name(self._environ))}"
            region = profile_region(self._environ) or ""
        if not region:
            return DEFAULT_REGION, "the default: neither AWS_REGION nor the profile has a region"
        if problem := region_problem(region):
            self._problems.append(f"{source} is {quoted(region)}. {problem}")
        return region, source

    def _domain(self) -> tuple[str | None, str | None]:
        """Return the domain's name and its zone's.

        A domain name leads to one API. DOMAIN_NAME is production's; staging, unless it has its own, takes
        `staging.<DOMAIN_NAME>`, which is in the same zone.
        """
        name = self._host_name("DOMAIN_NAME", "")
        if not name:
            return None, None
        # For ws.example.co.uk two labels are not enough: hence HOSTED_ZONE_NAME.
        zone = self._host_name("HOSTED_ZONE_NAME", ".".join(name.split(".")[-2:]))
        if not is_domain(name) or len(name) > MAX_DOMAIN_LENGTH:
            what = f"a domain name of at most {MAX_DOMAIN_LENGTH} characters in a zone of Route 53, e.g. ws.example.com"
            self._wrong("DOMAIN_NAME", name, what)
            return None, None
        if not (is_domain(zone) and f".{name}".endswith(f".{zone}")):
            self._wrong("HOSTED_ZONE_NAME", zone, f"the zone in Route 53 that holds {name}, e.g. example.com")
        if self._stage == "staging" and self._name("DOMAIN_NAME") == "DOMAIN_NAME":
            name = f"staging.{name}"
            if len(name) > MAX_DOMAIN_LENGTH:
                self._problems.append(
                    f"staging's domain name, {name!r}, is longer than {MAX_DOMAIN_LENGTH} characters. "
                    "Set STAGING_DOMAIN_NAME to a shorter one, or to nothing"
                )
        return name, zone

    def _inbound(self, backend_protocol: Dialect) -> Inbound:
        is_grip = backend_protocol is Dialect.GRIP
        inbound = self._one_of("INBOUND", tuple(Inbound), Inbound.ORDERED if is_grip else Inbound.DIRECT)
        if is_grip and inbound is Inbound.DIRECT:
            self._problems.append(
                f"{self._name('INBOUND')} is 'direct', and {self._name('BACKEND_PROTOCOL')} is 'grip', in which "
                "requests come in order. Set it to ordered, or to nothing"
            )
        return inbound

    def _occupancy_events(self, backend_protocol: Dialect) -> bool:
        is_on = self._flag("OCCUPANCY_EVENTS")
        if is_on and backend_protocol is Dialect.GRIP:
            self._problems.append(
                f"{self._name('OCCUPANCY_EVENTS')} is 'true', and {self._name('BACKEND_PROTOCOL')} is 'grip', which "
                "has no such events. Set it to false, or to nothing"
            )
        return is_on

    def _host_name(self, name: str, default: str) -> str:
        """Return a domain name as AWS stores it."""
        value = self._value(name, default).removesuffix(".")
        return value.lower() if value.isascii() else value  # some other letters have lower ones of ASCII

    def _text(self, name: str, is_right: Callable[[str], object], right: str) -> str:
        """Return a text, "" where it is not set."""
        value = self._value(name, "")
        if value and not is_right(value):
            self._wrong(name, value, right)
        return value

    def _number(self, name: str, default: int, least: int, most: int, what: str) -> int:
        value = self._value(name, str(default))
        digits = value.lstrip("0") or "0"  # not too many for `int`
        if value.isascii() and value.isdigit() and len(digits) <= len(str(most)) and least <= int(digits) <= most:
            return int(digits)
        self._wrong(name, value, f"a number {what}, {least} to {most}")
        return default

    def _alarm_email(self) -> str | None:
        address = self._value("ALARM_EMAIL", "")
        local, _, host = address.rpartition("@")
        if address and not (_MAILBOX.fullmatch(local) and is_domain(host.lower()) and len(address) <= MAX_EMAIL_LENGTH):
            self._wrong("ALARM_EMAIL", address, "one mail address, e.g. operators@example.com")
        return address or None

    def _flag(self, name: str, default: bool = False) -> bool:
        return self._one_of(name, ("true", "false"), "true" if default else "false") == "true"

    def _one_of(self, name: str, choices: Sequence[T], default: T) -> T:
        value = self._value(name, default)
        for choice in choices:
            if choice == value:
                return choice
        self._wrong(name, value, f"one of {', '.join(choices)}")
        return default

    def _wrong(self, name: str, value: str, right: str) -> None:
        self._problems.append(f"{self._name(name)} is {quoted(value)}. Set it to {right}")
