"""Decides as IAM does whether a request is allowed: by the identity policies of the function or user that signed it.

All other keys, such as `local`, are allowed everything. Signatures are checked before, in `signatures`.
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html
"""

from __future__ import annotations

import functools
import re
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from .api_request import ApiRequest, ApiResponse, error_response, invoked_function
from .deployed import Statement
from .user_permissions import user_permissions

API_GATEWAY_SESSION = "BackplaneAssumeRoleSession"
"""The name of API Gateway's sessions of the roles of integrations, as IAM's messages have it."""
ALWAYS_ALLOWED = {"sts:GetCallerIdentity"}
"""https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html"""


@dataclass(frozen=True, slots=True)
class AccessKey:
    """Credentials of a role for one session: of a function, or of API Gateway. `principal` is its ARN in IAM."""

    key_id: str
    secret: str
    session_token: str
    role_arn: str
    session_name: str
    """The function's name, or API_GATEWAY_SESSION."""
    expires_at: float
    """Unix seconds."""

    @property
    def principal(self) -> str:
        account, _, role = self.role_arn.split(":", 4)[4].partition(":role/")
        return f"arn:aws:sts::{account}:assumed-role/{role.rpartition('/')[2]}/{self.session_name}"


@dataclass(frozen=True, slots=True)
class Permission:
    """What a call needs: one action on one resource."""

    action: str
    resource: str
    context: Mapping[str, str] = field(default_factory=dict, hash=False)
    """The condition keys of the call."""


@dataclass(frozen=True, slots=True)
class AccessDecision:
    """Whether a principal was allowed an action on a resource."""

    principal: str
    action: str
    resource: str
    allowed: bool


@dataclass(frozen=True, slots=True)
class Denial:
    """A call is not allowed. It has the status and message of the response."""

    status: int
    message: str

    def response(self, request: ApiRequest) -> ApiResponse:
        return error_response(request, self.status, "AccessDeniedException", self.message)


class AccessControl:
    """Issues keys to functions and to API Gateway, and decides on their calls.

    `statements_of` returns the statements of a role's policies, `user_of` the ARN of the user that has a key, and the
    user's statements.

    `decisions` counts all decisions since the start, so that tests can compare them with the policies.
    """

    def __init__(
        self,
        account_id: str,
        statements_of: Callable[[str], Sequence[Statement]],
        user_of: Callable[[str], tuple[str, Sequence[Statement]] | None] = lambda key_id: None,
        *,
        key_lifetime_s: float,
    ) -> None:
        self.decisions: Counter[AccessDecision] = Counter()
        self._key_lifetime_s = key_lifetime_s
        self._account_id = account_id
        self._statements_of = statements_of
        self._user_of = user_of
        self._keys: dict[str, AccessKey] = {}

    def issue(self, role_arn: str, session_name: str) -> AccessKey:
        key_id = f"ASIA{secrets.token_hex(8).upper()}"
        expires_at = time.time() + self._key_lifetime_s
        key = AccessKey(key_id, secrets.token_hex(20), secrets.token_urlsafe(60), role_arn, session_name, expires_at)
        self._keys[key_id] = key
        return key

    def issued(self, key_id: str) -> AccessKey | None:
        """Return a key that is not revoked."""
        return self._keys.get(key_id)

    def revoke(self, key: AccessKey) -> None:
        del self._keys[key.key_id]

    def is_of_a_function(self, request: ApiRequest) -> bool:
        key = self._keys.get(request.access_key or "")
        return key is not None and key.session_name != API_GATEWAY_SESSION

    def check_request(self, request: ApiRequest) -> Denial | None:
        """Decide on a call of an API. It runs in moto's thread, like `check`."""
        status = 400 if request.is_json_rpc else 403
        key = self._keys.get(request.access_key or "")
        if key is None:
            user = self._user_of(request.access_key or "")
            needs = (Permission(*needed) for needed in user_permissions(request, self._account_id))
            return None if user is None else self._decide(*user, needs, status)
        return self.check(key, needed_permissions(request, self._account_id), status)

    def check_connections_call(self, request: ApiRequest, region: str, api_id: str, stage: str) -> Denial | None:
        """Decide on a call of the management API."""
        key = self._keys.get(request.access_key or "")
        if key is None:
            return None
        connection = request.path.partition("/@connections/")[2]
        resource = f"{api_id}/{stage}/{request.method}/@connections/{connection}"
        arn = f"arn:aws:execute-api:{region}:{self._account_id}:{resource}"
        return self.check(key, [Permission("execute-api:ManageConnections", arn)], 403)

    def check(self, key: AccessKey, needed: Iterable[Permission], status: int = 400) -> Denial | None:
        """Decide on each permission in turn, until one is missing. A denial gets `status`."""
        return self._decide(key.principal, self._statements_of(key.role_arn), needed, status)

    def _decide(
        self, principal: str, statements: Sequence[Statement], needed: Iterable[Permission], status: int
    ) -> Denial | None:
        for permission in needed:
            why_not = _why_not(permission, statements)
            decision = AccessDecision(principal, permission.action, permission.resource, why_not is None)
            self.decisions[decision] += 1
            if why_not is not None:
                call = f"{permission.action} on resource: {permission.resource}"
                return Denial(status, f"User: {principal} is not authorized to perform: {call} {why_not}")
        return None


def needed_permissions(request: ApiRequest, account_id: str) -> Iterator[Permission]:
    """Yield the permissions that a call needs, by the service authorization reference."""
    arn = functools.partial(_arn, request, account_id)
    parameters = request.parameters
    operation = request.operation
    match request.service:
        case "dynamodb":
            yield from _dynamodb_permissions(request, functools.partial(_table_arn, arn))
        case "sqs":
            name = urlsplit(parameters.get("QueueUrl", "")).path.rpartition("/")[2] or parameters.get("QueueName", "*")
            # IAM checks a batch as its single action.
            yield Permission(f"sqs:{operation.removesuffix('Batch')}", arn(name))
        case "secretsmanager":
            secret = parameters.get("SecretId", "*")
            yield Permission(f"secretsmanager:{operation}", secret if secret.startswith("arn:") else arn("secret:*"))
        case "ssm":
            names = [parameters[key] for key in ("Name", "Path") if key in parameters]
            for name in names or parameters.get("Names") or ["*"]:
                yield Permission(f"ssm:{operation}", arn(f"parameter/{name.removeprefix('/')}"))
        case "logs":
            group, stream = parameters.get("logGroupName", "*"), parameters.get("logStreamName", "")
            yield Permission(f"logs:{operation}", arn(f"log-group:{group}:log-stream:{stream}"))
        case "lambda" if (function := invoked_function(request)) is not None:
            function_arn = function if function.startswith("arn:") else arn(f"function:{function}")
            yield Permission("lambda:InvokeFunction", function_arn)
        case "sts":
            if f"sts:{operation}" not in ALWAYS_ALLOWED:
                yield Permission(f"sts:{operation}", "*")
        case service:
            yield Permission(f"{service}:{operation}", "*")  # only `*` allows it: no function of ours calls it


def _dynamodb_permissions(request: ApiRequest, table: Callable[[str], str]) -> Iterator[Permission]:
    parameters = request.parameters
    match request.operation:
        case "BatchWriteItem" | "BatchGetItem" as operation:
            for name in parameters["RequestItems"]:
                yield Permission(f"dynamodb:{operation}", table(name))
        case "TransactWriteItems" | "TransactGetItems":
            actions = {
                "Put": "PutItem",
                "Update": "UpdateItem",
                "Delete": "DeleteItem",
                "ConditionCheck": "ConditionCheckItem",
                "Get": "GetItem",
            }
            for item in parameters["TransactItems"]:
                for kind, element in item.items():
                    yield Permission(f"dynamodb:{actions[kind]}", table(element["TableName"]))
        case operation:
            name = parameters.get("TableName", "*")
            index = f"/index/{parameters['IndexName']}" if "IndexName" in parameters else ""
            yield Permission(f"dynamodb:{operation}", table(name) + index)


def _arn(request: ApiRequest, account_id: str, resource: str) -> str:
    return f"arn:aws:{request.service}:{request.region}:{account_id}:{resource}"


def _table_arn(arn: Callable[[str], str], name: str) -> str:
    """A table may be named by its ARN."""
    return name if name.startswith("arn:") else arn(f"table/{name}")


def _why_not(permission: Permission, statements: Sequence[Statement]) -> str | None:
    """Return None if it is granted, otherwise the end of IAM's sentence."""
    applicable = [statement for statement in statements if _applies(statement, permission)]
    if any(statement["Effect"] == "Deny" for statement in applicable):
        return "with an explicit deny in an identity-based policy"
    if any(statement["Effect"] == "Allow" for statement in applicable):
        return None
    return f"because no identity-based policy allows the {permission.action} action"


def _applies(statement: Statement, permission: Permission) -> bool:
    """Raises NotImplementedError where a statement has more keys than this module knows, rather than decide wrongly."""
    if unknown := statement.keys() - {"Sid", "Effect", "Action", "Resource", "Condition"}:
        raise NotImplementedError(f"the local AWS cannot evaluate a policy with {', '.join(sorted(unknown))}")
    condition = dict(statement.get("Condition", {}))
    equal = condition.pop("StringEquals", {})
    if condition:
        raise NotImplementedError(f"the local AWS cannot evaluate the condition {', '.join(sorted(condition))}")
    if any(permission.context.get(key) not in _listed(values) for key, values in equal.items()):
        return False
    has_action = any(matches(pattern.lower(), permission.action.lower()) for pattern in _listed(statement["Action"]))
    return has_action and any(matches(pattern, permission.resource) for pattern in _listed(statement["Resource"]))


def matches(pattern: str, text: str) -> bool:
    """Tell whether `text` fits a policy's pattern: `*` stands for any characters, `?` for one."""
    return _compiled(pattern).fullmatch(text) is not None


@functools.lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."), re.DOTALL)


def _listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value
