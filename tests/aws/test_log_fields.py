from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from slip_sockets.aws.log_fields import LogFields, install_log_fields
from slip_sockets.gateway.observer import EventType, HandledEvent, handling


@pytest.fixture(autouse=True)
def _handlers_as_before() -> Iterator[None]:
    handlers = logging.getLogger().handlers
    before = [list(handler.filters) for handler in handlers]
    yield
    for handler, filters in zip(handlers, before, strict=True):
        handler.filters[:] = filters


@pytest.mark.parametrize("logger", ["slip_sockets.gateway", "slip_sockets.aws", "urllib3.connectionpool"])
def test_each_line_of_the_log_has_the_event_that_it_is_about(caplog: pytest.LogCaptureFixture, logger: str) -> None:
    install_log_fields()
    log = logging.getLogger(logger)
    for type_ in EventType:
        with handling(HandledEvent(type_, "AAAA=")):
            log.warning("it went wrong")
    with handling(HandledEvent(EventType.DEFERRED)):
        log.warning("a batch went wrong")
        with handling(HandledEvent(EventType.DEFERRED, "BBBB=")):
            log.warning("a message of it went wrong")
    log.warning("no event is being handled")
    assert [(vars(line)["eventType"], vars(line)["connectionId"]) for line in caplog.records] == [
        ("OPEN", "AAAA="),
        ("TEXT", "AAAA="),
        ("CLOSE", "AAAA="),
        ("CONTROL", "AAAA="),
        ("DEFERRED", "AAAA="),
        ("DEFERRED", None),
        ("DEFERRED", "BBBB="),
        (None, None),
    ]


def test_every_handler_of_the_root_logger_gets_them() -> None:
    install_log_fields()
    handlers = logging.getLogger().handlers
    assert handlers
    assert all(any(isinstance(each, LogFields) for each in handler.filters) for handler in handlers)
