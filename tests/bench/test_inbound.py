"""The benchmark of INBOUND works: tiny runs, without a word about speed."""

from __future__ import annotations

import pytest

from bench import inbound
from bench.servers import backend, slip_sockets


@pytest.mark.parametrize("way", inbound.WAYS)
def test_each_case_measures_a_running_server(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbound, "CONNECTIONS", 3)
    with backend() as backend_port, slip_sockets(backend_port, "--inbound", way) as server:
        for name, (case, _) in inbound.CASES.items():
            assert case(server, 0.2) > 0, name


def test_the_ratio_is_that_of_the_runs_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    values = iter([2.0, 4.0, 1.0, 3.0])
    monkeypatch.setattr(inbound, "CASES", {"a case": (lambda server, seconds: next(values), "ms")})
    figures = inbound.measure(2, 0.0)["a case"]
    assert [(figure.name, figure.value) for figure in figures] == [
        ("direct", 1.5),
        ("ordered", 3.5),
        ("ordered to direct", 2.5),
    ]
