from __future__ import annotations

import time

from slip_sockets.aws.lambda_context import deadline_of


class Context:
    aws_request_id = "c6af9ac6"

    def get_remaining_time_in_millis(self) -> int:
        return 1_500


def test_deadline_is_when_the_remaining_time_has_passed() -> None:
    before = time.time()
    assert before + 1.5 <= deadline_of(Context()) <= time.time() + 1.5
