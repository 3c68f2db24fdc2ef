"""What a role allows, judged as IAM judges it: by the identity policies of the function whose key signed a request.

Every other key, Terraform's for one, may do everything. Signatures themselves are not checked.
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html
"""

from __future__ import annotations

import functools
import re
import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from .deployed import Statement
from .wire import ApiRequest, invoked_function

ALWAYS_ALLOWED = {"sts:GetCallerIdentity"}
"""https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html"""


@dataclass(frozen=True, slots=True)
class AccessKey:
    """Credentials of a role for one function. `principal` is who it is to IAM."""

    key_id: str
    secret: str
    session_token: str
    role_arn: str
    function_name: str

    @property
    def principal(self) -> str:
        account, _, role = self.role_arn.split(":", 4)[4].partition(":role/")
        return f"arn:aws:sts::{account}:assumed-role/{role.rpartition('/')[2]}/{self.function_name}"


@dataclass(frozen=True, slots=True)
class Demand:
    """What a call needs to be allowed."""

    action: str
    resource: str


@dataclass(frozen=True, slots=True)
class Judgement:
    """Who asked for what, and whether it was allowed."""

    principal: str
    action: str
    resource: str
    allowed: bool


@dataclass(frozen=True, slots=True)
class Denial:
    """The answer to a call that is not allowed."""

    status: int
    message: str


class Permissions:
    """Issues functions' keys and judges what is done with them. `statements_of` gives a role's policies.

    `judgements` counts every judgement since the start, for tests to hold against the policies.
    """

    def __init__(self, account_id: str, statements_of: Callable[[str], Sequence[Statement]]) -> None:
        self.judgements: Counter[Judgement] = Counter()
        self._account_id = account_id
        self._statements_of = statements_of
        self._keys: dict[str, AccessKey] = {}

    def issue(self, role_arn: str, function_name: str) -> AccessKey:
        key_id = f"ASIA{secrets.token_hex(8).upper()}"
        key = AccessKey(key_id, secrets.token_hex(20), secrets.token_urlsafe(60), role_arn, function_name)
        self._keys[key_id] = key
        return key

    def revoke(self, key: AccessKey) -> None:
        del self._keys[key.key_id]

    def is_of_a_function(self, request: ApiRequest) -> bool:
        return request.access_key in self._keys

    def check_request(self, request: ApiRequest) -> Denial | None:
        """Judge a call of an API. It runs in moto's thread, like `check`."""
        key = self._keys.get(request.access_key or "")
        if key is None:
            return None
        return self.check(key, demands(request, self._account_id), 403 if _is_rest(request) else 400)

    def check_connections_call(self, request: ApiRequest, region: str, api_id: str, stage: str) -> Denial | None:
        """Judge a call of the management API. `path` of the request is as API Gateway sees it, from the stage on."""
        key = self._keys.get(request.access_key or "")
        if key is None:
            return None
        connection = request.path.partition("/@connections/")[2]
        resource = f"{api_id}/{stage}/{request.method}/@connections/{connection}"
        arn = f"arn:aws:execute-api:{region}:{self._account_id}:{resource}"
        return self.check(key, [Demand("execute-api:ManageConnections", arn)], 403)

    def check(self, key: AccessKey, demanded: Iterable[Demand], status: int = 400) -> Denial | None:
        """Judge `demanded` until one is not allowed."""
        statements = self._statements_of(key.role_arn)
        for demand in demanded:
            why_not = _why_not(demand, statements)
            self.judgements[Judgement(key.principal, demand.action, demand.resource, why_not is None)] += 1
            if why_not is not None:
                asked = f"{demand.action} on resource: {demand.resource}"
                told = why_not.format(action=demand.action)
                return Denial(status, f"User: {key.principal} is not authorized to perform: {asked} {told}")
        return None


def demands(request: ApiRequest, account_id: str) -> Iterator[Demand]:
    """Yield what a call needs, as the service authorization reference says."""
    arn = functools.partial(_arn, request, account_id)
    told = request.parameters
    operation = request.operation
    match request.service:
        case "dynamodb":
            yield from _dynamodb_demands(request, functools.partial(_table_arn, arn))
        case "sqs":
            name = urlsplit(told.get("QueueUrl", "")).path.rpartition("/")[2] or told.get("QueueName", "*")
            # A batch is judged as its single action.
            yield Demand(f"sqs:{operation.removesuffix('Batch')}", arn(name))
        case "ssm":
            names = [told[key] for key in ("Name", "Path") if key in told] or told.get("Names") or ["*"]
            for name in names:
                yield Demand(f"ssm:{operation}", arn(f"parameter/{name.removeprefix('/')}"))
        case "logs":
            group, stream = told.get("logGroupName", "*"), told.get("logStreamName", "")
            yield Demand(f"logs:{operation}", arn(f"log-group:{group}:log-stream:{stream}"))
        case "lambda" if (function := invoked_function(request)) is not None:
            yield Demand(
                "lambda:InvokeFunction", function if function.startswith("arn:") else arn(f"function:{function}")
            )
        case "sts":
            if f"sts:{operation}" not in ALWAYS_ALLOWED:
                yield Demand(f"sts:{operation}", "*")
        case service:
            yield Demand(f"{service}:{operation}", "*")  # judged by `*` alone: nothing of ours calls it


def _dynamodb_demands(request: ApiRequest, table: Callable[[str], str]) -> Iterator[Demand]:
    told = request.parameters
    match request.operation:
        case "BatchWriteItem" | "BatchGetItem" as operation:
            for name in told["RequestItems"]:
                yield Demand(f"dynamodb:{operation}", table(name))
        case "TransactWriteItems" | "TransactGetItems":
            actions = {
                "Put": "PutItem",
                "Update": "UpdateItem",
                "Delete": "DeleteItem",
                "ConditionCheck": "ConditionCheckItem",
                "Get": "GetItem",
            }
            for item in told["TransactItems"]:
                for kind, element in item.items():
                    yield Demand(f"dynamodb:{actions[kind]}", table(element["TableName"]))
        case operation:
            name = told.get("TableName", "*")
            index = f"/index/{told['IndexName']}" if "IndexName" in told else ""
            yield Demand(f"dynamodb:{operation}", table(name) + index)


def _arn(request: ApiRequest, account_id: str, resource: str) -> str:
    return f"arn:aws:{request.service}:{request.region}:{account_id}:{resource}"


def _table_arn(arn: Callable[[str], str], name: str) -> str:
    """A table may be named by its ARN."""
    return name if name.startswith("arn:") else arn(f"table/{name}")


def _is_rest(request: ApiRequest) -> bool:
    return not request.speaks_json_rpc


def _why_not(demand: Demand, statements: Sequence[Statement]) -> str | None:
    """Return None if it is allowed, else the end of IAM's sentence."""
    applying = [statement for statement in statements if _applies(statement, demand)]
    if any(statement["Effect"] == "Deny" for statement in applying):
        return "with an explicit deny in an identity-based policy"
    if any(statement["Effect"] == "Allow" for statement in applying):
        return None
    return "because no identity-based policy allows the {action} action"


def _applies(statement: Statement, demand: Demand) -> bool:
    """Raises NotImplementedError where a statement says more than is judged here: better than to judge it wrongly."""
    if unknown := statement.keys() - {"Sid", "Effect", "Action", "Resource"}:
        raise NotImplementedError(f"the local AWS cannot judge a policy with {', '.join(sorted(unknown))}")
    return any(matches(pattern.lower(), demand.action.lower()) for pattern in _listed(statement["Action"])) and any(
        matches(pattern, demand.resource) for pattern in _listed(statement["Resource"])
    )


def matches(pattern: str, text: str) -> bool:
    """Whether `text` fits a pattern of a policy: `*` is any characters, `?` any one."""
    return _compiled(pattern).fullmatch(text) is not None


@functools.lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."), re.DOTALL)


def _listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value
