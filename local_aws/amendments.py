"""What moto does otherwise than AWS and we need: one method for each, with what moto does.

They run in moto's thread, before or after moto has answered.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from moto.backends import get_backend

from .wire import ApiAnswer, ApiRequest, error_answer

_FUNCTION = re.compile(r"/2015-03-31/functions(?:/(?P<name>[^/]+)(?:/(?P<part>configuration|code))?)?/?")

DEDUPLICATED_FOR_MS = 5 * 60 * 1000


class Amendments:
    """`endpoint(api_id, protocol)` is where an API answers; `why_not_run` says why a function cannot run here.

    `logging` is what Lambda was told of LoggingConfig, by region and function.
    """

    def __init__(
        self,
        account_id: str,
        endpoint: Callable[[str, str], str],
        why_not_run: Callable[[str | None, str | None], str | None],
    ) -> None:
        self.logging: dict[tuple[str, str], dict[str, str]] = {}
        self._account_id = account_id
        self._endpoint = endpoint
        self._why_not_run = why_not_run

    def before(self, request: ApiRequest) -> ApiAnswer | None:
        """Return an answer in place of moto's."""
        match request.service:
            case "lambda":
                return self._refuse_what_cannot_run(request)
            case "sqs":
                self._forget_expired_receives(request)
                self._know_duplicates(request)
        return None

    def after(self, request: ApiRequest, answer: ApiAnswer) -> ApiAnswer:
        """Return moto's answer, amended."""
        if not answer.ok:
            return answer
        match request.service:
            case "apigateway":
                return self._amend_json(answer, self._tell_our_endpoint)
            case "lambda":
                self._keep_moto_from_feeding_functions(request)
                return self._with_logging_config(request, answer)
            case "sqs" if request.operation == "GetQueueAttributes":
                return self._amend_json(answer, self._write_redrive_policy_as_aws)
        return answer

    def _tell_our_endpoint(self, told: dict[str, Any]) -> None:
        """moto tells an API's endpoint at Amazon, and `https` even of a WebSocket API."""
        for api in (told, *told.get("items", ())):
            if "apiEndpoint" in api:
                api["apiEndpoint"] = self._endpoint(api["apiId"], api["protocolType"])

    def _with_logging_config(self, request: ApiRequest, answer: ApiAnswer) -> ApiAnswer:
        """moto forgets LoggingConfig, so that each plan of Terraform's would set it again."""
        match = _FUNCTION.fullmatch(request.path)
        if match is None or match["part"] == "code":
            return answer
        name = match["name"] or request.parameters.get("FunctionName")
        if name is None:
            return answer
        name = name.rpartition(":")[2]
        if request.method == "DELETE":
            self.logging.pop((request.region, name), None)
            return answer
        if request.method in ("POST", "PUT") and "LoggingConfig" in request.parameters:
            self.logging[request.region, name] = request.parameters["LoggingConfig"]
        logging = self.logging.get((request.region, name), {})

        def amend(told: dict[str, Any]) -> None:
            told.get("Configuration", told)["LoggingConfig"] = {
                "LogFormat": "Text",
                "LogGroup": f"/aws/lambda/{name}",
            } | logging

        return self._amend_json(answer, amend)

    @staticmethod
    def _write_redrive_policy_as_aws(told: dict[str, Any]) -> None:
        """moto writes it with blanks, which Terraform would take out again with each apply."""
        attributes = told.get("Attributes", {})
        if "RedrivePolicy" in attributes:
            attributes["RedrivePolicy"] = json.dumps(json.loads(attributes["RedrivePolicy"]), separators=(",", ":"))

    def _keep_moto_from_feeding_functions(self, request: ApiRequest) -> None:
        """moto would hand a queue's messages to a function in Docker, within SendMessage."""
        if "/event-source-mappings" in request.path:
            for queue in get_backend("sqs")[self._account_id][request.region].queues.values():
                queue.lambda_event_source_mappings.clear()

    def _refuse_what_cannot_run(self, request: ApiRequest) -> ApiAnswer | None:
        """moto takes any code; here it would fail no sooner than with the first event."""
        match = _FUNCTION.fullmatch(request.path)
        if match is None or request.method not in ("POST", "PUT"):
            return None
        architectures = request.parameters.get("Architectures") or [None]
        why_not = self._why_not_run(architectures[0], request.parameters.get("Runtime"))
        return None if why_not is None else error_answer(request, 400, "InvalidParameterValueException", why_not)

    def _forget_expired_receives(self, request: ApiRequest) -> None:
        """moto lets a message whose visibility timeout has passed block its group, or come after a later one."""
        if request.operation == "ReceiveMessage":
            for queue in get_backend("sqs")[self._account_id][request.region].queues.values():
                queue.pending_messages.difference_update({m for m in queue.pending_messages if m.visible})

    def _know_duplicates(self, request: ApiRequest) -> None:
        """moto knows a FIFO message again while it is in the queue, not after it was deleted; and across groups."""
        if request.operation.startswith("SendMessage"):
            queues: dict[str, Any] = get_backend("sqs")[self._account_id][request.region].queues
            for queue in queues.values():
                if queue.fifo_queue and not isinstance(queue.add_message, _AddOnce):
                    queue.add_message = _AddOnce(queue)

    @staticmethod
    def _amend_json(answer: ApiAnswer, amend: Callable[[dict[str, Any]], None]) -> ApiAnswer:
        if not answer.body:
            return answer
        told = json.loads(answer.body)
        amend(told)
        body = json.dumps(told).encode()
        headers = {name: value for name, value in answer.headers.items() if name.lower() != "content-length"}
        return replace(answer, body=body, headers=headers)


class _AddOnce:
    """A FIFO queue's `add_message`: drops what was sent within five minutes before.

    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/using-messagededuplicationid-property.html
    """

    def __init__(self, queue: Any) -> None:
        self._queue = queue
        self._sent_ms: dict[tuple[str | None, str], int] = {}  # by group, if that is the scope, and id; oldest first

    def __call__(self, message: Any) -> None:
        now_ms = message.sent_timestamp
        while self._sent_ms and now_ms - next(iter(self._sent_ms.values())) >= DEDUPLICATED_FOR_MS:
            del self._sent_ms[next(iter(self._sent_ms))]
        is_by_group = self._queue.deduplication_scope == "messageGroup"
        key = (message.group_id if is_by_group else None, message.deduplication_id)
        if key in self._sent_ms:
            return
        self._sent_ms[key] = now_ms
        with self._queue._messages_lock:
            self._queue._messages.append(message)
            self._queue._messages_lock.notify_all()
