"""A local AWS in a thread, for programs and tests."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from concurrent.futures import Future

from .apis import ApiFault
from .management import ManagementFault
from .permissions import AccessDecision
from .server import Server, start_server
from .service_models import Violation
from .settings import LocalAwsSettings
from .signatures import FIXED_KEY, FIXED_KEY_ID


class LocalAws:
    """A local AWS in a thread of its own: `with LocalAws(settings) as aws: ...`.

    Entering raises OSError where the port is not available, ValueError where `runtime_python` cannot run functions.
    """

    def __init__(self, settings: LocalAwsSettings) -> None:
        self.settings = settings
        self.port = settings.port
        self._started: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, name="local-aws", daemon=True)
        self._loop: asyncio.AbstractEventLoop
        self._stop: asyncio.Event
        self._server: Server

    def __enter__(self) -> LocalAws:
        self._thread.start()
        self._started.result()
        return self

    def __exit__(self, *error: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """The variables that lead boto3 and Terraform here, and away from the user's real account."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": FIXED_KEY_ID,
            "AWS_SECRET_ACCESS_KEY": FIXED_KEY.secret,
            "AWS_REGION": self.settings.region,
            "AWS_DEFAULT_REGION": self.settings.region,
            "AWS_CONFIG_FILE": "/nonexistent",
            "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def access_decisions(self) -> Counter[AccessDecision]:
        """Return all decisions about functions' calls since the start."""
        return self._server.access.decisions.copy()

    def request_violations(self) -> Counter[Violation]:
        """Return what requests had since the start that botocore's models do not allow."""
        return self._server.apis.models.requests.copy()

    def response_violations(self) -> Counter[Violation]:
        """Return what the local AWS's responses lacked, or had of another type than botocore's models."""
        return self._server.apis.models.responses.copy()

    def unread_requests(self) -> Counter[tuple[str, str]]:
        """Return the requests since the start that were not held against a model, by service and operation."""
        return self._server.apis.models.unread.copy()

    def environments(self, function_arn: str) -> int:
        """Return the number of a function's processes."""
        return self._server.functions.environments(function_arn)

    # Faults

    def kill(self, function_arn: str) -> None:
        """End a function's processes at once."""
        self._loop.call_soon_threadsafe(self._server.functions.kill, function_arn)

    def set_management_fault(self, fault: ManagementFault) -> None:
        """From now on let calls of the management API fail as `fault` returns; it runs in this AWS's thread."""
        self._server.management.fault = fault

    def set_api_fault(self, fault: ApiFault) -> None:
        """From now on let functions' calls of AWS's other APIs fail as `fault` returns; it runs in moto's thread."""
        self._server.apis.fault = fault

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        try:
            self._server = server = await start_server(self.settings)
        except BaseException as error:  # noqa: BLE001 - the thread that waits for the start raises it
            self._started.set_exception(error)
            return
        self.port = server.port
        self._started.set_result(None)
        try:
            await self._stop.wait()
        finally:
            await server.aclose()
