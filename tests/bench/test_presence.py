"""The benchmark of presence works: a tiny run, without a word about speed."""

from __future__ import annotations

import pytest

from bench import presence


def test_members_learn_of_each_other_and_a_storm_is_told_to_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence, "QUIET_S", 12.0)
    found = presence.measure(20, 5)
    values = {name: {figure.name: figure.value for figure in figures} for name, figures in found.items()}
    assert values["5 leave and come back"] == {"frames to those who stayed": 0, "frames of each who came back": 1}
    assert (values["one joins"]["frames"], values["one leaves"]["frames"]) == (21, 20)
    assert (values["PRESENCE"]["counted"], values["PRESENCE"]["listed"]) == (20, 20)
