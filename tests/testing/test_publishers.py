from __future__ import annotations

import pytest

from slip_sockets import (
    AsyncSlipSocketsPublisher,
    History,
    HistoryReport,
    InvalidEvents,
    Keep,
    PublishText,
    Report,
    SlipSocketsPublisher,
    Subscribe,
    user_channel,
)
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


def texts(report: HistoryReport) -> list[tuple[str, str]]:
    return [(message.position, message.data) for message in report.messages]


def test_what_is_kept_has_a_position_and_is_in_the_history(recording_publisher: RecordingPublisher) -> None:
    keep = Keep(count=3, seconds=60)
    assert recording_publisher.history("tea") == HistoryReport("test:0", [], more=False)
    assert recording_publisher.history("tea", since="test:0").recovered is True
    assert recording_publisher.publish_text("tea", "not kept").position is None
    reports = [recording_publisher.publish_text("tea", data, keep=keep) for data in "abcd"]
    assert [report.position for report in reports] == ["test:1", "test:2", "test:3", "test:4"]
    assert recording_publisher.publish_text("juice", "a", keep=keep).position == "test:1"
    newest = recording_publisher.history("tea")
    assert (newest.position, texts(newest)) == ("test:4", [("test:2", "b"), ("test:3", "c"), ("test:4", "d")])
    assert all(message.published_at > 1_700_000_000_000 for message in newest.messages)
    assert (newest.more, texts(recording_publisher.history("tea", limit=1))) == (False, [("test:4", "d")])
    assert recording_publisher.history("tea", limit=1).more
    assert recording_publisher.sent[-1] == History("tea", limit=1)


def test_a_history_since_a_position_has_all_or_nothing(recording_publisher: RecordingPublisher) -> None:
    for data in "abcd":
        recording_publisher.publish_text("tea", data, keep=Keep(count=3, seconds=60))
    after = recording_publisher.history("tea", since="test:1", limit=2)
    assert (texts(after), after.more, after.recovered) == ([("test:2", "b"), ("test:3", "c")], True, True)
    nothing = recording_publisher.history("tea", since="test:4")
    assert (texts(nothing), nothing.more, nothing.recovered) == ([], False, True)
    for lost in ("test:0", "test:5", "k3J9:3", "no position"):
        assert recording_publisher.history("tea", since=lost) == HistoryReport(
            "test:4", [], more=False, recovered=False
        )


def test_the_same_id_has_the_same_position(recording_publisher: RecordingPublisher) -> None:
    keep = Keep(count=3, seconds=60)
    for _ in range(2):
        assert recording_publisher.publish_text("tea", "a", message_id="m1", keep=keep).position == "test:1"
    assert recording_publisher.publish_text("juice", "b", message_id="m1", keep=keep).position == "test:1"
    assert len(recording_publisher.history("tea").messages) == 1


async def test_so_do_the_async_one_and_any_other_within_the_block() -> None:
    publisher = AsyncSlipSocketsPublisher(control_api=NOWHERE, jwt_secret="change-me")
    with record(publisher, report=ONE):
        for each in (publisher, AsyncRecordingPublisher()):
            report = await each.publish_text("tea", "a", keep=Keep(count=1, seconds=1))
            assert (report.position, texts(await each.history("tea"))) == ("test:1", [("test:1", "a")])


def test_what_a_user_is_sent_is_in_the_history_of_the_users_channel(recording_publisher: RecordingPublisher) -> None:
    recording_publisher.send_to_user("ann", "a", keep=Keep(count=3, seconds=60))
    assert recording_publisher.sent == [PublishText("$user:ann", "a", keep=Keep(count=3, seconds=60))]
    assert texts(recording_publisher.history(user_channel("ann"))) == [("test:1", "a")]
    with pytest.raises(InvalidEvents, match=r"^user: needs 1 to 128 bytes of UTF-8, got 0$"):
        recording_publisher.send_to_user("", "a")


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
