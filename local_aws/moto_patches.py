"""Corrects moto where a deployment needs it: a method for each difference from AWS, which its docstring describes.

All run in moto's thread, before or after moto handles a request.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import moto.backends
import moto.core.responses
import moto.sqs.models
from moto.backends import get_backend
from moto.core.utils import camelcase_to_underscores, method_names_from_class

from .api_request import ApiRequest, ApiResponse, error_response, json_response
from .fifo_queues import correct_fifo_queues
from .provisioned_concurrency import ProvisionedConcurrency

# Half the time of a call: moto lists its own folders for each one, the methods of a class, and spells a queue's
# attributes anew.
_MOTOS_SERVICES = tuple(moto.backends.list_of_moto_modules())
moto.backends.list_of_moto_modules = lambda: _MOTOS_SERVICES
moto.core.responses.method_names_from_class = functools.cache(method_names_from_class)  # type: ignore[attr-defined]
moto.sqs.models.camelcase_to_underscores = functools.cache(camelcase_to_underscores)  # type: ignore[attr-defined]

_FUNCTION = re.compile(r"/2015-03-31/functions(?:/(?P<name>[^/]+)(?:/(?P<part>configuration|code))?)?/?")
_FUNCTION_URL = re.compile(r"https://(?P<id>[0-9a-f]+)\.lambda-url\.")


class MotoPatches:
    """`endpoint(api_id, protocol)` returns the URL of an API, `function_url(id)` a function's, `why_not_run` why
    a function cannot run here.

    `logging` has the LoggingConfig of functions, by region and name.
    """

    def __init__(
        self,
        account_id: str,
        endpoint: Callable[[str, str], str],
        function_url: Callable[[str], str],
        why_not_run: Callable[[str | None, str | None], str | None],
        provisioned: ProvisionedConcurrency,
        concurrency: int,
    ) -> None:
        self.logging: dict[tuple[str, str], dict[str, str]] = {}
        self._account_id = account_id
        self._endpoint = endpoint
        self._function_url = function_url
        self._why_not_run = why_not_run
        self._provisioned = provisioned
        self._concurrency = concurrency

    def before(self, request: ApiRequest) -> ApiResponse | None:
        """Return a response in place of moto's, None where moto is to respond."""
        match request.service:
            case "lambda":
                if request.path.rstrip("/") == "/2016-08-19/account-settings":
                    return self._account_settings(request)
                return self._refuse_function_that_cannot_run(request) or self._provisioned.before(request)
            case "sqs":
                correct_fifo_queues(get_backend("sqs")[self._account_id][request.region])
        return None

    def after(self, request: ApiRequest, response: ApiResponse) -> ApiResponse:
        """Return moto's response, corrected."""
        if not response.ok:
            return response
        match request.service:
            case "apigateway":
                return self._patch_json(response, self._set_endpoint)
            case "lambda":
                self._keep_moto_from_feeding_functions(request)
                self._write_auth_type_as_condition(request)
                if request.path.endswith("/url"):
                    return self._patch_json(response, self._set_function_url)
                return self._with_logging_config(request, self._provisioned.after(request, response))
            case "sqs" if request.operation == "GetQueueAttributes":
                return self._patch_json(response, self._write_redrive_policy_as_aws)
        return response

    def _account_settings(self, request: ApiRequest) -> ApiResponse:
        """moto has no GetAccountSettings. No function has reserved concurrency here."""
        backend: Any = get_backend("lambda")[self._account_id][request.region]
        functions = {function.function_name for function in backend.list_functions()}
        limit = {
            "TotalCodeSize": 75 * 2**30,
            "CodeSizeUnzipped": 250 * 2**20,
            "CodeSizeZipped": 50 * 2**20,
            "ConcurrentExecutions": self._concurrency,
            "UnreservedConcurrentExecutions": self._concurrency,
        }
        usage = {"TotalCodeSize": 0, "FunctionCount": len(functions)}
        return json_response(200, {"AccountLimit": limit, "AccountUsage": usage})

    def _set_endpoint(self, body: dict[str, Any]) -> None:
        """moto returns an endpoint at Amazon, with `https` even for a WebSocket API."""
        for api in (body, *body.get("items", ())):
            if "apiEndpoint" in api:
                api["apiEndpoint"] = self._endpoint(api["apiId"], api["protocolType"])

    def _set_function_url(self, body: dict[str, Any]) -> None:
        """moto returns a URL at Amazon, without the slash at its end."""
        match = _FUNCTION_URL.match(body.get("FunctionUrl", ""))
        if match is not None:
            body["FunctionUrl"] = self._function_url(match["id"])

    def _write_auth_type_as_condition(self, request: ApiRequest) -> None:
        """moto keeps FunctionUrlAuthType as a member of its own, so that each plan of Terraform would set it again."""
        if request.method == "POST" and request.path.endswith("/policy"):
            for function in get_backend("lambda")[self._account_id][request.region]._lambdas.latest():
                for statement in function.policy.statements:
                    if (auth_type := statement.pop("FunctionUrlAuthType", None)) is not None:
                        condition = {"StringEquals": {"lambda:FunctionUrlAuthType": auth_type}}
                        statement["Condition"] = statement.get("Condition", {}) | condition

    def _with_logging_config(self, request: ApiRequest, response: ApiResponse) -> ApiResponse:
        """moto forgets LoggingConfig, so that each plan of Terraform would set it again."""
        match = _FUNCTION.fullmatch(request.path)
        if match is None or match["part"] == "code":
            return response
        name = match["name"] or request.parameters.get("FunctionName")
        if name is None:
            return response
        name = name.rpartition(":")[2]
        if request.method == "DELETE":
            self.logging.pop((request.region, name), None)
            return response
        if request.method in ("POST", "PUT") and "LoggingConfig" in request.parameters:
            self.logging[request.region, name] = request.parameters["LoggingConfig"]
        logging = self.logging.get((request.region, name), {})

        def patch(body: dict[str, Any]) -> None:
            body.get("Configuration", body)["LoggingConfig"] = {
                "LogFormat": "Text",
                "LogGroup": f"/aws/lambda/{name}",
            } | logging

        return self._patch_json(response, patch)

    @staticmethod
    def _write_redrive_policy_as_aws(body: dict[str, Any]) -> None:
        """moto writes it with blanks, which each apply of Terraform would remove again."""
        attributes = body.get("Attributes", {})
        if "RedrivePolicy" in attributes:
            attributes["RedrivePolicy"] = json.dumps(json.loads(attributes["RedrivePolicy"]), separators=(",", ":"))

    def _keep_moto_from_feeding_functions(self, request: ApiRequest) -> None:
        """moto would deliver a queue's messages to a function in Docker, within SendMessage."""
        if "/event-source-mappings" in request.path:
            for queue in get_backend("sqs")[self._account_id][request.region].queues.values():
                queue.lambda_event_source_mappings.clear()

    def _refuse_function_that_cannot_run(self, request: ApiRequest) -> ApiResponse | None:
        """moto accepts any code; here it would fail only at the first event."""
        match = _FUNCTION.fullmatch(request.path)
        if match is None or request.method not in ("POST", "PUT"):
            return None
        architectures = request.parameters.get("Architectures") or [None]
        why_not = self._why_not_run(architectures[0], request.parameters.get("Runtime"))
        return None if why_not is None else error_response(request, 400, "InvalidParameterValueException", why_not)

    @staticmethod
    def _patch_json(response: ApiResponse, patch: Callable[[dict[str, Any]], None]) -> ApiResponse:
        if not response.body:
            return response
        body = json.loads(response.body)
        patch(body)
        headers = {name: value for name, value in response.headers.items() if name.lower() != "content-length"}
        return replace(response, body=json.dumps(body).encode(), headers=headers)
