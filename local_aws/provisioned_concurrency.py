"""Lambda's provisioned concurrency, which moto does not know, and what it makes of an alias that moves.

An alias that has it moves slowly: until the new version's environments are ready, AWS gives the alias routing weights
that lead to the old version. Meanwhile its provisioned concurrency cannot be changed. An alias without it moves at
once, also between versions that have it.
https://docs.aws.amazon.com/lambda/latest/dg/provisioned-concurrency.html
https://github.com/hashicorp/terraform-provider-aws/pull/48116
"""

from __future__ import annotations

import json
import random
import re
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

from moto.backends import get_backend

from .api_request import ApiRequest, ApiResponse, error_response, json_response

_CONFIG = re.compile(r"/2019-09-30/functions/(?P<name>[^/]+)/provisioned-concurrency/?")
_ALIAS = re.compile(r"/2015-03-31/functions/(?P<name>[^/]+)/aliases/(?P<alias>[^/]+)/?")

Qualified = tuple[str, str, str]
"""A region, the name of a function, and a version's number or an alias's name."""


@dataclass(frozen=True, slots=True)
class _Move:
    """An alias leaves `old_version` until `ends`, on time.monotonic's clock."""

    old_version: str
    ends: float


class ProvisionedConcurrency:
    """All of one account. An alias that has it moves in `alias_move_s`. All methods run in moto's thread."""

    def __init__(self, account_id: str, *, alias_move_s: float) -> None:
        self._account_id = account_id
        self._alias_move_s = alias_move_s
        self._configs: dict[Qualified, tuple[int, str]] = {}  # environments, and when they were asked for
        self._moves: dict[Qualified, _Move] = {}

    def before(self, request: ApiRequest) -> ApiResponse | None:
        """Return the response where moto has none, or AWS refuses what moto does not."""
        config = _CONFIG.fullmatch(request.path)
        if config is not None:
            return self._respond(request, _name(config["name"]))
        alias = _ALIAS.fullmatch(request.path)
        if alias is None or request.method != "PUT":
            return None
        key = (request.region, _name(alias["name"]), alias["alias"])
        version = str(request.parameters.get("FunctionVersion"))
        if version in self.weights(key):
            message = f"Function version {version} is already included in routing configuration"
            return error_response(request, 400, "InvalidParameterValueException", message)
        current = self._alias_version(key)
        if key in self._configs and current not in (None, version):
            self._moves[key] = _Move(str(current), time.monotonic() + self._alias_move_s)
        return None

    def after(self, request: ApiRequest, response: ApiResponse) -> ApiResponse:
        """Return moto's response with the routing weights of an alias that moves; forget what is deleted."""
        alias = _ALIAS.fullmatch(request.path)
        if alias is not None and request.method in ("GET", "PUT"):
            weights = self.weights((request.region, _name(alias["name"]), alias["alias"]))
            if weights:
                body = json.loads(response.body) | {"RoutingConfig": {"AdditionalVersionWeights": weights}}
                return replace(response, body=json.dumps(body).encode(), headers={"Content-Type": "application/json"})
        if request.method == "DELETE":
            self._configs = {key: config for key, config in self._configs.items() if self._exists(key)}
        return response

    def weights(self, key: Qualified) -> dict[str, float]:
        """Return which part of the events an alias that moves still leads to its old version."""
        move = self._moves.get(key)
        left_s = 0.0 if move is None else move.ends - time.monotonic()
        if move is None or left_s <= 0:
            return {}
        return {move.old_version: round(max(left_s / self._alias_move_s, 0.01), 2)}

    def old_version(self, key: Qualified) -> str | None:
        """Return the version that an alias leads one event to, None for the version that it names."""
        for version, weight in self.weights(key).items():
            if random.random() < weight:  # noqa: S311 - not cryptography
                return version
        return None

    def _respond(self, request: ApiRequest, name: str) -> ApiResponse:
        query = parse_qs(urlsplit(request.target).query)
        if "List" in query:
            keys = [key for key in self._configs if key[:2] == (request.region, name)]
            listed = [{"FunctionArn": self._arn(key), **self._described(key)} for key in keys]
            return json_response(200, {"ProvisionedConcurrencyConfigs": listed})
        key = (request.region, name, query.get("Qualifier", ["$LATEST"])[0])
        if not self._exists(key):
            return error_response(request, 404, "ResourceNotFoundException", f"Function not found: {self._arn(key)}")
        if request.method == "PUT":
            why_not = self._why_not(key)
            if why_not is not None:
                return error_response(request, 400, "InvalidParameterValueException", why_not)
            self._configs[key] = (int(request.parameters["ProvisionedConcurrentExecutions"]), _now())
            return json_response(202, self._described(key))
        if key not in self._configs:
            message = f"No Provisioned Concurrency Config found for this function: {self._arn(key)}"
            return error_response(request, 404, "ProvisionedConcurrencyConfigNotFoundException", message)
        if request.method == "DELETE":
            del self._configs[key]
            return ApiResponse(204, b"")
        return json_response(200, self._described(key))

    def _why_not(self, key: Qualified) -> str | None:
        region, name, qualifier = key
        if qualifier == "$LATEST":
            return "Provisioned Concurrency Configs cannot be applied to unpublished function versions."
        if self.weights(key):
            return "Alias with weights can not be used with Provisioned Concurrency"
        version = self._alias_version(key)
        if version is not None and (region, name, version) in self._configs:
            return "Alias can not be used for Provisioned Concurrency Configuration on an already Provisioned version"
        return None

    def _described(self, key: Qualified) -> dict[str, Any]:
        environments, at = self._configs[key]
        return {
            "RequestedProvisionedConcurrentExecutions": environments,
            "AvailableProvisionedConcurrentExecutions": environments,
            "AllocatedProvisionedConcurrentExecutions": environments,
            "Status": "READY",
            "LastModified": at,
        }

    def _arn(self, key: Qualified) -> str:
        region, name, qualifier = key
        return f"arn:aws:lambda:{region}:{self._account_id}:function:{name}:{qualifier}"

    def _alias_version(self, key: Qualified) -> str | None:
        region, name, qualifier = key
        if not self._exists(key):
            return None
        alias = self._functions(region)._get_function_aliases(name).get(qualifier)
        return None if alias is None else str(alias.function_version)

    def _exists(self, key: Qualified) -> bool:
        region, name, qualifier = key
        functions = self._functions(region)
        if name not in functions._functions:
            return False
        versions = {"$LATEST", *(str(function.version) for function in functions._functions[name]["versions"])}
        return qualifier in versions or qualifier in functions._get_function_aliases(name)

    def _functions(self, region: str) -> Any:
        backend: Any = get_backend("lambda")[self._account_id][region]
        return backend._lambdas


def _name(name_or_arn: str) -> str:
    return name_or_arn.rpartition(":function:")[2].partition(":")[0]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
