"""A window of the browser, for tests with a server on their own event loop."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from selenium.webdriver.support.ui import WebDriverWait

from .chromium import PATIENCE_S, Chromium


@dataclass(frozen=True)
class Page:
    """The current window. Scripts are JavaScript, and find what they are given in `arguments`."""

    chromium: Chromium

    async def run(self, script: str, *arguments: object) -> Any:
        return await asyncio.to_thread(self.chromium.driver.execute_script, script, *arguments)

    async def until(self, expression: str, *arguments: object) -> Any:
        """Wait until an expression is true, and return its value."""

        def wait() -> Any:
            driver = self.chromium.driver
            return WebDriverWait(driver, PATIENCE_S, poll_frequency=0.05).until(
                lambda _: driver.execute_script(f"return {expression}", *arguments)
            )

        return await asyncio.to_thread(wait)
