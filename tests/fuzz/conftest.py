from __future__ import annotations

import pytest

pytest.register_assert_rewrite("tests.fuzz.small_world", "tests.fuzz.play")
