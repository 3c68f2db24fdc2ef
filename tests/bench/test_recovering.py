"""The benchmark of recovering works: a tiny run, without a word about speed."""

from __future__ import annotations

from bench import recovering


def test_clients_that_come_back_get_what_they_missed_or_one_frame() -> None:
    found = recovering.measure(20, 5)
    values = {name: {figure.name: figure.value for figure in figures} for name, figures in found.items()}
    assert [(each["recovered"], each["frames of each"]) for each in values.values()] == [(100, 6), (100, 1)]
    assert values["5 missed"]["until the last one has all"] > 0
