"""The chat's page in a real browser: `python -m examples.chat`, and windows of headless Chromium.

`CHAT_SCREENSHOT` names a file to keep a picture of the conversation in.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from slip_sockets import SlipSocketsPublisher

from ..examples.chat_program import SECRET, ChatProgram, running_chat
from .chromium import PATIENCE_S, Chromium

pytestmark = pytest.mark.browser


class Window:
    """Somebody's window with the chat in it."""

    def __init__(self, driver: webdriver.Chrome, handle: str) -> None:
        self._driver = driver
        self._handle = handle

    @classmethod
    def open(cls, chromium: Chromium, url: str) -> Window:
        return cls(chromium.driver, chromium.open(url))

    @property
    def driver(self) -> webdriver.Chrome:
        self._driver.switch_to.window(self._handle)
        return self._driver

    def wait(self, condition: Callable[[], object]) -> None:
        WebDriverWait(self.driver, PATIENCE_S, poll_frequency=0.05).until(lambda _: condition())

    def call_oneself(self, name: str) -> None:
        self.wait(lambda: self.driver.find_element(By.ID, "name").is_displayed())
        field = self.driver.find_element(By.ID, "name")
        field.clear()
        field.send_keys(name, Keys.ENTER)
        self.wait(lambda: name in self.people)

    def say(self, text: str) -> None:
        self.driver.find_element(By.ID, "text").send_keys(text, Keys.ENTER)

    def see(self, text: str) -> None:
        """Wait until `text` stands in the room's log."""
        self.wait(lambda: text in self.log)

    def see_people(self, *names: str) -> None:
        """Wait until exactly these are here."""
        self.wait(lambda: sorted(self.people) == sorted(names))

    @property
    def log(self) -> str:
        return str(self.driver.find_element(By.ID, "log").text)

    @property
    def messages(self) -> list[str]:
        return [element.text for element in self.driver.find_elements(By.CSS_SELECTOR, ".message p")]

    @property
    def people(self) -> list[str]:
        """Read at one go: the page may be rebuilding the list."""
        script = "return Array.from(document.querySelectorAll('#people bdi'), (one) => one.textContent)"
        return list(self.driver.execute_script(script))

    @property
    def state(self) -> str | None:
        return self.driver.find_element(By.ID, "state").get_attribute("data-state")

    def close(self) -> None:
        self.driver.close()


@pytest.fixture
def chat(tmp_path: Path, chromium: Chromium) -> Iterator[ChatProgram]:
    with running_chat(tmp_path / "outputs.json") as chat:
        yield chat
        chromium.close_windows()


@pytest.fixture
def two(chat: ChatProgram, chromium: Chromium) -> tuple[Window, Window]:
    """Ada and Grace in the lobby, each of whom sees the other."""
    ada = Window.open(chromium, chat.page)
    ada.call_oneself("Ada")
    grace = Window.open(chromium, chat.page)
    grace.call_oneself("Grace")
    ada.see_people("Ada", "Grace")
    grace.see_people("Ada", "Grace")
    return ada, grace


def test_what_is_said_in_one_window_is_read_in_the_other(two: tuple[Window, Window], tmp_path: Path) -> None:
    ada, grace = two
    ada.see("Grace joined")
    ada.say("Hello, Grace. Does this go through a plain HTTP backend?")
    grace.see("Does this go through a plain HTTP backend?")
    grace.say("It does.")
    ada.see("It does.")
    ada.driver.save_screenshot(os.environ.get("CHAT_SCREENSHOT") or str(tmp_path / "chat.png"))


def test_a_closed_window_is_announced_in_the_other(two: tuple[Window, Window]) -> None:
    ada, grace = two
    grace.close()
    ada.see("Grace left")
    assert ada.people == ["Ada"]


def test_a_reload_keeps_name_and_room(two: tuple[Window, Window]) -> None:
    ada, grace = two
    grace.driver.refresh()
    grace.see_people("Ada", "Grace")
    grace.say("Back")
    ada.see("Back")
    assert grace.driver.find_elements(By.CSS_SELECTOR, ".message.mine")
    assert "Grace left" not in ada.log
    assert ada.people == ["Ada", "Grace"]


def test_a_link_leads_into_its_room_and_back_leads_out_again(two: tuple[Window, Window]) -> None:
    ada, grace = two
    room = "Tea & <b>cake</b> 100%"
    grace.driver.get(f"{grace.driver.current_url}#{quote(room)}")
    ada.see("Grace left")
    field = ada.driver.find_element(By.ID, "room-field")
    field.send_keys(room, Keys.ENTER)
    ada.see_people("Ada", "Grace")
    assert ada.driver.find_element(By.ID, "room").text == room
    ada.say("Cake!")
    grace.see("Cake!")

    ada.driver.back()

    grace.see("Ada left")
    ada.see("You are back")
    assert ada.driver.find_element(By.ID, "room").text == "lobby"
    assert ada.messages == []


def test_hostile_text_is_only_text(two: tuple[Window, Window], chat: ChatProgram, chromium: Chromium) -> None:
    hostile = "<img src=x onerror=alert(1)>"
    eve = Window.open(chromium, f"{chat.page}#lobby")
    eve.call_oneself(hostile)
    eve.say("<script>alert(2)</script>")
    eve.say("javascript:alert(3)")
    for window in two:
        window.see("javascript:alert(3)")
        assert "<script>alert(2)</script>" in window.messages
        assert hostile in window.people
        assert window.driver.find_elements(By.CSS_SELECTOR, "img, #log script, #log a") == []


def test_a_socket_that_the_server_closes_comes_back(two: tuple[Window, Window], chat: ChatProgram) -> None:
    ada, grace = two
    publisher = SlipSocketsPublisher(control_api=chat.control_api, jwt_secret=SECRET)

    report = publisher.close_channel("room:lobby")

    assert report is not None
    assert report.matched == 2
    ada.see("Back after")
    grace.see("Back after")
    grace.see_people("Ada", "Grace")
    ada.see_people("Ada", "Grace")
    ada.say("Here again")
    grace.see("Here again")


def test_what_is_said_while_the_server_is_away_arrives_once_when_it_is_back(
    chat: ChatProgram, two: tuple[Window, Window], tmp_path: Path
) -> None:
    ada, grace = two
    ports = [urlsplit(url).port or 0 for url in (chat.websocket_url, chat.page)]
    ended = chat.end()
    assert (ended.status, ended.complained) == (0, "")
    ada.wait(lambda: ada.state == "reconnecting")
    grace.wait(lambda: grace.state == "reconnecting")
    ada.say("Is anybody there?")
    ada.see("Is anybody there?")
    assert ada.driver.find_elements(By.CSS_SELECTOR, ".message.pending")

    with running_chat(tmp_path / "outputs.json", port=ports[0], backend_port=ports[1]):
        grace.see("Back after")
        ada.see("Back after")
        ada.wait(lambda: not ada.driver.find_elements(By.CSS_SELECTOR, ".message.pending"))
        grace.say("I am")
        ada.see("I am")
        assert ada.messages == ["Is anybody there?", "I am"]
