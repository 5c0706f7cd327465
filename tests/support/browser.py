"""A headless Chromium, driven through its DevTools protocol."""

from __future__ import annotations

import json
import re
import socket
import tempfile
import urllib.request
from typing import Any

from websockets.sync.client import connect

from tests.support.processes import TIMEOUT, Process, optional, wait_until

__all__ = ["Browser"]


class Browser:
    """One page; skips visibly without Chromium. Ended with :meth:`stop`.

    It takes any certificate.

    :param host: a name that it resolves to loopback; not below ``localhost``, whose cookies are exempt from many rules.
    """

    def __init__(self, host: str) -> None:
        binary = optional("RTUNNEL_TEST_CHROMIUM", "chromium-headless-shell", "chromium")
        self._home = tempfile.TemporaryDirectory(prefix="rtunnel-browser-", ignore_cleanup_errors=True)
        self._process = Process(
            [
                *(binary, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
                "--ignore-certificate-errors",
                *("--no-proxy-server", f"--host-resolver-rules=MAP {host} 127.0.0.1", "--remote-debugging-port=0"),
                *(f"--user-data-dir={self._home.name}", "about:blank"),
            ]
        )
        self._process.wait_for("DevTools listening on ws://")
        found = re.search(r"DevTools listening on ws://(([^/:]+):(\d+))/", self._process.output)
        assert found is not None
        address, name, port = found.groups()
        self._asked = 0
        self._page = connect(self._page_url(address), sock=socket.create_connection((name, int(port)), TIMEOUT), max_size=None)

    @staticmethod
    def _page_url(address: str) -> str:
        pages: list[Any] = []

        def there() -> bool:
            with urllib.request.urlopen(f"http://{address}/json/list", timeout=TIMEOUT) as answer:
                pages[:] = [one for one in json.load(answer) if one["type"] == "page"]
            return bool(pages)

        wait_until(there, "a page of the browser")
        return str(pages[0]["webSocketDebuggerUrl"])

    def _ask(self, method: str, **parameters: object) -> Any:
        self._asked += 1
        self._page.send(json.dumps({"id": self._asked, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self._page.recv(timeout=3 * TIMEOUT))
            if answer.get("id") == self._asked:
                return answer.get("result")

    def open(self, url: str) -> None:
        """Navigate to a URL."""
        self._ask("Page.navigate", url=url)

    def run(self, script: str) -> Any:
        """The value of an expression in the page, also of a promise; None if it fails."""
        found = self._ask("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True) or {}
        return found.get("result", {}).get("value")

    @property
    def text(self) -> str:
        """What the page shows."""
        return str(self.run("document.body ? document.title + ' ' + document.body.innerText : ''"))

    def wait_for(self, text: str) -> None:
        """Wait until the page shows a text."""
        try:
            wait_until(lambda: text in self.text, text, patience=3 * TIMEOUT)
        except AssertionError as error:
            raise AssertionError(f"{error}; the page shows: {self.text[:2000]}") from None

    def stop(self) -> None:
        """End it."""
        self._page.close()
        self._process.stop()
        self._home.cleanup()
