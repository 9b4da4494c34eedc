"""A headless Chromium that looks at a server's pages and notes whatever is wrong with them: errors
on the console, exceptions, requests that leave the host or fail.

What this file must not know: what the pages show.
"""

import os
import shutil
from urllib.parse import urlsplit

from playwright.sync_api import Page, expect

from support.server import Server

NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
# Root, in a container, without a network: no sandbox, and nothing of the browser's own business.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
PATIENCE_MS = 20_000
DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}

expect.set_options(timeout=PATIENCE_MS)


def executable() -> str | None:
    """The Chromium of this machine; `make venv` sees to it that there is one, where it can."""
    named = os.environ.get("GALEN_CHROMIUM")
    found = named or next(filter(None, map(shutil.which, NAMES)), None)
    required = os.environ.get("GALEN_BROWSER_TESTS") == "required"
    assert found or not required, "there is no Chromium: `make venv` says how to get one"
    return found


class Tab:
    """One page of the browser, on one server."""

    def __init__(self, browser, server: Server, scheme: str = "light", viewport: dict = DESKTOP):
        self.host = server.http
        self.root = f"http://{server.http}"
        self.context = browser.new_context(
            color_scheme=scheme, viewport=viewport, reduced_motion="reduce", locale="en-GB"
        )
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(PATIENCE_MS)
        self.problems: list[str] = []
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.problems.append(f"exception: {error}"))
        self.page.on("request", self._request)

    def _console(self, message):
        if message.type in ("error", "warning"):
            url = message.location.get("url", "")
            self.problems.append(f"console {message.type}: {message.text} ({url})")

    def _request(self, request):
        parts = urlsplit(request.url)
        if parts.scheme not in ("data", "blob") and parts.netloc != self.host:
            self.problems.append(f"a request to another host: {request.url}")

    def open(self, address: str) -> Page:
        self.page.goto(self.root + address)
        return self.page

    def close(self):
        self.context.close()
