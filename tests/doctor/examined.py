"""A deployment as the judgements see it, and an account that has fixed responses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from slip_sockets.client.outputs import Outputs
from slip_sockets.doctor.account import Account
from slip_sockets.doctor.findings import Finding, Verdict
from slip_sockets.doctor.settings import DoctorSettings

NOW = 1_800_000_000.0
OUTPUTS = Outputs(
    control_api="https://ctl1234567.execute-api.eu-west-1.amazonaws.com",
    websocket_url="wss://wss1234567.execute-api.eu-west-1.amazonaws.com/live",
    target_url="https://app.example/slip",
    region="eu-west-1",
)


def settings(outputs: Outputs = OUTPUTS, **changes: Any) -> DoctorSettings:
    usual: dict[str, Any] = {"stack": "chat", "path": Path("cdk-outputs.json"), "outputs": outputs, "now": lambda: NOW}
    return DoctorSettings(**(usual | changes))


def verdicts(findings: Sequence[Finding]) -> list[tuple[str, Verdict]]:
    return [(finding.check, finding.verdict) for finding in findings]


class FixedAccount(Account):
    """`responses` are by operation: a response, an error to raise, or a function of the parameters.

    `called` are the operations called.
    """

    def __init__(self, responses: Mapping[str, Any]) -> None:
        super().__init__("eu-west-1")
        self.account_id = "123456789012"
        self.responses = responses
        self.called: list[str] = []

    async def call(self, service: str, operation: str, **parameters: Any) -> dict[str, Any]:
        response: dict[str, Any] = self._response(operation, parameters)
        return response

    async def pages(self, service: str, operation: str, key: str, **parameters: Any) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = self._response(operation, parameters)
        return items

    def _response(self, operation: str, parameters: dict[str, Any]) -> Any:
        self.called.append(operation)
        response = self.responses[operation]
        if callable(response):
            response = response(**parameters)
        if isinstance(response, Exception):
            raise response
        return response
