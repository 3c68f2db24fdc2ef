from __future__ import annotations

import pytest

from slip_sockets import AsyncSlipSocketsPublisher, InvalidEvents, PublishText, Report, SlipSocketsPublisher, Subscribe
from slip_sockets.testing import CONNECTION_ID, AsyncRecordingPublisher, RecordingPublisher, record

pytest_plugins = ["slip_sockets.testing.plugin"]

NOWHERE = "http://127.0.0.1:1/"
ONE = Report(matched=1, sent=1, gone=0, queued=0)


def test_a_recording_publisher_remembers_and_reports(recording_publisher: RecordingPublisher) -> None:
    recording_publisher.report = ONE
    assert recording_publisher.publish_text("tea", "hi") == ONE
    recording_publisher.subscribe(CONNECTION_ID, "tea")
    assert recording_publisher.sent == [PublishText("tea", "hi"), Subscribe(CONNECTION_ID, "tea")]
    assert isinstance(recording_publisher, SlipSocketsPublisher)


async def test_so_does_the_async_one(async_recording_publisher: AsyncRecordingPublisher) -> None:
    async with async_recording_publisher as publisher:
        report = await publisher.publish_text("tea", "hi")
    assert report.matched == 0
    assert async_recording_publisher.sent == [PublishText("tea", "hi")]
    assert isinstance(async_recording_publisher, AsyncSlipSocketsPublisher)


def test_a_batch_that_the_control_api_would_refuse_is_refused(recording_publisher: RecordingPublisher) -> None:
    with pytest.raises(InvalidEvents):
        recording_publisher.publish_text("", "hi")
    assert recording_publisher.sent == []


async def test_a_publisher_records_within_the_block_only() -> None:
    publisher = SlipSocketsPublisher(control_api=NOWHERE, jwt_secret="change-me", sleep=lambda _: None)
    with record(publisher, report=ONE) as sent:
        assert publisher.publish_text("tea", "hi") == ONE
    assert sent == [PublishText("tea", "hi")]
    assert "send" not in vars(publisher)
    async_publisher = AsyncSlipSocketsPublisher(control_api=NOWHERE, jwt_secret="change-me")
    with record(async_publisher) as sent:
        await async_publisher.close_channel("tea")
    assert len(sent) == 1
    assert "send" not in vars(async_publisher)
