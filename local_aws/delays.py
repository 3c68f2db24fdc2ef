"""What AWS accepts at once and applies some seconds later: policies of roles, and routes of stages with auto-deploy.

https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot.html#troubleshoot_general_eventual-consistency
https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-dg-api-stages.html
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Generic, TypeVar
from urllib.parse import parse_qs

from .api_request import ApiRequest, ApiResponse, error_response
from .deployed import Deployed, Routes, Stage, Statement

_OF_ROUTES = re.compile(r"/v2/apis/(?P<api>[^/]+)/(?:routes|integrations)(?:/.*)?")
_ROLE_OF_A_FUNCTION = re.compile(r"/2015-03-31/functions(?:/[^/]+/configuration)?/?")
NOT_ASSUMABLE = "The role defined for the function cannot be assumed by Lambda."

T = TypeVar("T")


class Delayed(Generic[T]):
    """Values that change `delay_s` seconds late, by key. `clock` returns seconds."""

    def __init__(self, delay_s: float, clock: Callable[[], float]) -> None:
        self._delay_s = delay_s
        self._clock = clock
        self._old: dict[str, list[tuple[float, T]]] = {}  # each with the time until which it counts, oldest first

    def change(self, key: str, old: T) -> None:
        """The value of `key` is about to change from `old`."""
        if self._delay_s > 0:
            self._old.setdefault(key, []).append((self._clock() + self._delay_s, old))

    def value(self, key: str, new: T) -> T:
        """Return the value that counts now; `new` is the one after all changes."""
        old = self._old.get(key, [])
        while old and old[0][0] <= self._clock():
            del old[0]
        return old[0][1] if old else new


class DelayedDeployed(Deployed):
    """Like Deployed, but as it counts so far."""

    def __init__(
        self, *of_deployed: Any, iam_delay_s: float, deploy_delay_s: float, clock: Callable[[], float]
    ) -> None:
        super().__init__(*of_deployed)
        self._policies = Delayed[list[Statement]](iam_delay_s, clock)
        self._exists = Delayed[bool](iam_delay_s, clock)
        self._routes = Delayed[Routes](deploy_delay_s, clock)

    def before(self, request: ApiRequest) -> ApiResponse | None:
        """Remember what a request will change. Return AWS's refusal of a role that is too new for a function."""
        if request.method == "GET":
            return None
        match request.service:
            case "iam":
                self._before_iam(request)
            case "apigateway" if (of_routes := _OF_ROUTES.fullmatch(request.path)) is not None:
                self._routes.change(of_routes["api"], self.routes(of_routes["api"]))
            case "lambda" if _ROLE_OF_A_FUNCTION.fullmatch(request.path) is not None:
                role = request.parameters.get("Role")
                if role is not None and not self._exists.value(_role_name(role), True):
                    return error_response(request, 400, "InvalidParameterValueException", NOT_ASSUMABLE)
        return None

    def policies(self, role_arn: str) -> list[Statement]:
        return self._policies.value(_role_name(role_arn), super().policies(role_arn))

    def stage(self, api_id: str, name: str) -> Stage | None:
        stage = super().stage(api_id, name)
        if stage is None or not stage.auto_deploys:
            return stage
        return replace(stage, routes=self._routes.value(api_id, stage.routes))

    def _before_iam(self, request: ApiRequest) -> None:
        names = parse_qs(request.body.decode()).get("RoleName")
        if names is None or request.operation.startswith(("Get", "List")):
            return
        if request.operation == "CreateRole":
            self._exists.change(names[0], old=False)
        self._policies.change(names[0], super().policies(self.role_arn(names[0]) or ""))


def _role_name(arn: str) -> str:
    return arn.rpartition("/")[2]
