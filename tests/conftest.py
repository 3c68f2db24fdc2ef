"""Fixtures for all tests: a development server over a scripted backend, and the publisher that talks to it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

from slip_sockets import SlipSocketsPublisher
from slip_sockets.dev.server import DevServer, DevSettings

from .scripted_backend import ScriptedBackend

SECRET = "a-secret-of-more-than-thirty-two-bytes"
KEY_OF_A_PAIR = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA\n-----END PUBLIC KEY-----\n"

TOGETHER = {"browser", "e2e", "pushpin", "stacks"}
"""Folders of tests that share fixtures which take long to make: one process runs all tests of a folder, in order."""
APART = {
    "test_deploying_policy.py",
    "test_provisioned_concurrency.py",
    "test_redeployment.py",
    "test_strictness.py",
    "test_verify_aws.py",
}
"""Files there with a deployment of their own: another process may run them meanwhile."""
ONCE = {
    "bench",
    "browser",
    "churn",
    "crash",
    "docs",
    "doctor",
    "fan_out",
    "local_aws",
    "ports",
    "stacks",
    "tools",
    "test_presence_machine.py",
    "test_recovery_machine.py",
    "test_state_machine.py",
}
"""All tests of these folders and files have the marker `once`, but for those of ALWAYS."""
ALWAYS = {"test_synth.py"}
LONGEST_FIRST = (
    "test_redeployment.py",
    "test_provisioned_concurrency.py",
    "e2e",
    "test_verify_aws.py",
    "test_deploying_policy.py",
    "test_strictness.py",
    "stacks",
    "pushpin",
    "browser",
)
"""They begin before all others, so that no process waits for one of them in the end."""


@pytest.hookimpl(tryfirst=True)  # before tests are chosen by their markers
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        folder, file = item.path.parts[-2:]
        if {folder, file} & ONCE and file not in ALWAYS:
            item.add_marker(pytest.mark.once)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """Distribute tests one by one, but those folders and files as a whole."""
    return _ByFolder(config, log)


class _ByFolder(LoadScopeScheduling):  # type: ignore[misc]
    def _split_scope(self, nodeid: str) -> str:
        _, folder, *others = nodeid.split("/")
        if folder not in TOGETHER:
            return nodeid
        file = others[0].partition("::")[0] if others else ""
        return file if file in APART else folder

    def _assign_work_unit(self, node: Any) -> None:
        for scope in LONGEST_FIRST:
            if scope in self.workqueue:
                self.workqueue.move_to_end(scope, last=False)
                break
        super()._assign_work_unit(node)

    def remove_node(self, node: Any) -> str | None:
        """Give the tests of a process that has ended to others, but for the one that it ended in, which is returned.

        A test that hung would hang again: xdist itself repeats it.
        """
        units = self.assigned_work.pop(node)
        ended_in = next((test for unit in units.values() for test, is_done in unit.items() if not is_done), None)
        if ended_in is not None:
            units[self._split_scope(ended_in)][ended_in] = True
            self.workqueue.update({scope: unit for scope, unit in units.items() if not all(unit.values())})
            for other in self.assigned_work:
                self._reschedule(other)
        return ended_in

    def _reschedule(self, node: Any) -> None:
        super()._reschedule(node)
        if not self.workqueue:
            node.shutdown()  # after its tests; or else the process waits for one more before it runs the last


@pytest.fixture
async def backend() -> AsyncIterator[ScriptedBackend]:
    backend = ScriptedBackend()
    await backend.start()
    yield backend
    await backend.aclose()


@pytest.fixture
async def server(backend: ScriptedBackend, request: pytest.FixtureRequest) -> AsyncIterator[DevServer]:
    """With the parameter "ordered" texts come in order."""
    is_ordered = getattr(request, "param", "direct") == "ordered"
    async with DevServer(
        DevSettings(backend.url, SECRET, port=0, backend_timeout_s=5, is_ordered=is_ordered)
    ) as server:
        yield server


@pytest.fixture
def publisher(server: DevServer) -> SlipSocketsPublisher:
    """Blocking: call it with `asyncio.to_thread`."""
    return SlipSocketsPublisher(control_api=server.control_api, jwt_secret=SECRET)
