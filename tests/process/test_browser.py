"""A session in a real browser: the link, its cookie, and the way out."""

from __future__ import annotations

import re
import subprocess
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from uuid import uuid4

from twisted.trial.unittest import TestCase

from tests.support.processes import TIMEOUT, Process, free_port, optional, rtunnel

HOST = "shop.localhost"

PAGE = """<!doctype html><title>%s</title><body>%s<script>
(async () => {
    const seen = [document.title];
    for (const step of ["/who", "/?rtunnel-session=", "/who", "/?rtunnel-session=nobody", "/who"]) {
        const text = await (await fetch(step)).text();
        seen.push(step === "/who" ? text : text.match("<title>(.*)</title>")[1]);
    }
    const path = location.pathname + location.search;
    document.body.textContent = `seen: ${seen.join(" ")}; path: ${path}; cookies: ${document.cookie.length}`;
})();
</script></body>
"""


class Shop:
    """A service whose pages say whose it is, and that they may be cached.

    :param name: who it is.
    """

    def __init__(self, name: str) -> None:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                body = (name if self.path == "/who" else PAGE % (name, name)).encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/html")
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Cache-Control", "max-age=3600" if self.path == "/who" and name != "pod" else "no-cache")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_arguments: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class SessionTests(TestCase):
    timeout = 120

    def start(self, *words: str) -> Process:
        process = rtunnel(*words)
        self.addCleanup(process.stop)
        return process

    def join(self, name: str, *words: str) -> None:
        shop = Shop(name)
        self.addCleanup(shop.stop)
        client = self.start(*("client", "--server", self.listen, "--tunnel", self.tunnel, "--target", f":{shop.port}"), *words)
        client.wait_for("joined tunnel")

    def test_link(self) -> None:
        """The link leads to the laptop, and so do later requests; after the end, nothing of it is in the cache."""
        browser = optional("RTUNNEL_TEST_CHROMIUM", "chromium-headless-shell", "chromium")
        entrypoint, self.tunnel = free_port(), str(uuid4())
        self.listen = f"ws://127.0.0.1:{free_port()}/proxy"
        server = self.start(
            *("server", "--listen", self.listen, "--entrypoint", f"127.0.0.1:{entrypoint}", "--route", f"{HOST}={self.tunnel}")
        )
        server.wait_for("entrypoint on")
        self.join("pod")
        self.join("alice", "--session", "alice")
        url = f"http://{HOST}:{entrypoint}/?rtunnel-session=alice"
        done = subprocess.run(
            [
                *(browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={self.mktemp()}"),
                *("--no-proxy-server", f"--host-resolver-rules=MAP {HOST} 127.0.0.1"),
                *("--timeout=20000", "--virtual-time-budget=10000", "--dump-dom", url),
            ],
            capture_output=True,
            text=True,
            timeout=2 * TIMEOUT,
            check=False,
        )
        found = re.search(r"seen: (.*); path: (\S+); cookies: (\d+)", done.stdout)
        assert found is not None, (done.returncode, done.stdout, done.stderr[-2000:])
        self.assertEqual(found.groups(), ("alice alice pod pod pod pod", "/", "0"))
