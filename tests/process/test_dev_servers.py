"""Development servers that refuse foreign hosts and origins, behind a client that makes requests look local."""

from __future__ import annotations

import os
import socket
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path
from threading import Thread
from uuid import uuid4

from twisted.trial.unittest import TestCase
from websockets.datastructures import Headers
from websockets.exceptions import InvalidStatus
from websockets.http11 import Request, Response
from websockets.sync.client import connect
from websockets.sync.server import ServerConnection, serve
from websockets.typing import Origin

from tests.support.authority import Authority
from tests.support.browser import Browser
from tests.support.processes import Nginx, Process, free_port, listening, optional, rtunnel, wait_until

HOST = "shop.test"


class PickyServer:
    """A development server: it knows only its own host and origin, redirects to it, and has a WebSocket that echoes.

    :ivar seen: the headers of the requests that it accepted.
    """

    def __init__(self) -> None:
        self.seen: list[Headers] = []
        self._server = serve(self._echo, "127.0.0.1", 0, process_request=self._process)
        self.port = self._server.socket.getsockname()[1]
        Thread(target=self._server.serve_forever, daemon=True).start()

    @staticmethod
    def _echo(connection: ServerConnection) -> None:
        for message in connection:
            connection.send(message)

    def _process(self, connection: ServerConnection, request: Request) -> Response | None:
        own = f"localhost:{self.port}"
        headers = request.headers
        if headers["Host"] != own:
            return connection.respond(HTTPStatus.FORBIDDEN, f"the host {headers['Host']} is not allowed")
        if headers.get("Origin", f"http://{own}") != f"http://{own}":
            return connection.respond(HTTPStatus.FORBIDDEN, f"the origin {headers['Origin']} is not allowed")
        self.seen.append(headers)
        if headers.get("Upgrade"):
            return None
        response = connection.respond(HTTPStatus.FOUND, "over there")
        response.headers["Location"] = f"http://{own}/there"
        response.headers["Set-Cookie"] = "a=1; Domain=localhost; Path=/"
        response.headers["Access-Control-Allow-Origin"] = f"http://{own}"
        return response

    def stop(self) -> None:
        self._server.shutdown()


class DevServerCase(TestCase):
    """A server with one rule, and a client for a development server on this machine.

    :cvar trusting: options of the server.
    """

    timeout = 300
    trusting: tuple[str, ...] = ()

    def start(self, *words: str) -> Process:
        process = rtunnel(*words)
        self.addCleanup(process.stop)
        return process

    def serve(self, port: int, *words: str) -> None:
        """Start server and client.

        :param port: of the development server.
        :param words: options of the client.
        """
        self.entrypoint, listen, tunnel = free_port(), f"ws://127.0.0.1:{free_port()}/proxy", str(uuid4())
        server = self.start(
            "server",
            "--listen",
            listen,
            "--entrypoint",
            f"127.0.0.1:{self.entrypoint}",
            "--route",
            f"{HOST}={tunnel}",
            *self.trusting,
        )
        server.wait_for("entrypoint on")
        client = self.start("client", "--server", listen, "--tunnel", tunnel, "--target", f":{port}", *words)
        client.wait_for("joined tunnel")

    @property
    def place(self) -> str:
        """Where visitors go to, without the scheme."""
        return f"{HOST}:{self.entrypoint}"


class PickyTests(DevServerCase):
    def setUp(self) -> None:
        self.app = PickyServer()
        self.addCleanup(self.app.stop)

    def get(self, origin: str | None = None) -> tuple[int, dict[str, str]]:
        connection = HTTPConnection("127.0.0.1", self.entrypoint, timeout=20)
        try:
            connection.request("GET", "/", headers={"Host": self.place} | ({"Origin": origin} if origin else {}))
            response = connection.getresponse()
            response.read()
            return response.status, dict(response.getheaders())
        finally:
            connection.close()

    def echo(self, origin: str) -> str:
        """What the WebSocket says."""
        raw = socket.create_connection(("127.0.0.1", self.entrypoint), 20)
        with connect(f"ws://{self.place}/", sock=raw, origin=Origin(origin), open_timeout=20) as connection:
            connection.send("hello")
            return str(connection.recv(20))

    def test_plain(self) -> None:
        """What this is about: without the option it refuses."""
        self.serve(self.app.port)
        self.assertEqual(self.get()[0], 403)
        self.assertRaises(InvalidStatus, self.echo, f"http://{self.place}")

    def test_as_local(self) -> None:
        self.serve(self.app.port, "--as-local")
        for scheme in ("http", "https"):
            status, fields = self.get(f"{scheme}://{self.place}")
            self.assertEqual((status, fields["Location"], fields["Set-Cookie"]), (302, "/there", "a=1; Path=/"))
            self.assertEqual(fields["Access-Control-Allow-Origin"], f"{scheme}://{self.place}")
            self.assertEqual(self.echo(f"{scheme}://{self.place}"), "hello")
            seen = self.app.seen[-1]
            self.assertEqual((seen["X-Original-Host"], seen["X-Original-Proto"]), (self.place, scheme))
            self.assertEqual((seen["X-Forwarded-For"], seen.get("X-Forwarded-Host")), ("127.0.0.1", None))

    def test_other_sites(self) -> None:
        """They are refused as before: the protection of the development server goes on working."""
        self.serve(self.app.port, "--as-local")
        self.assertEqual(self.get("https://evil.example")[0], 403)
        self.assertRaises(InvalidStatus, self.echo, "https://evil.example")


class BrowserCase(DevServerCase):
    """With the real thing, and a real browser."""

    def run_server(self, *words: str, cwd: str, port: int, env: dict[str, str] | None = None) -> None:
        process = Process(words, cwd=cwd, env=env)
        self.addCleanup(process.stop)
        try:
            wait_until(lambda: listening(port), f"{words[0]} on port {port}", patience=90)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{process.output}") from None

    def browse(self, port: int, *words: str) -> Browser:
        """Open the page through a client with these options."""
        self.serve(port, *words)
        return self.look_at(f"http://{self.place}/")

    def look_at(self, url: str) -> Browser:
        browser = Browser(HOST)
        self.addCleanup(browser.stop)
        browser.open(url)
        return browser

    def behind_tls(self) -> str:
        """Put an Ingress that terminates TLS in front of the entrypoint; returns the place of the visitors."""
        port = free_port()
        certificate, key = Authority(Path(self.mktemp()).absolute()).issue(HOST)
        headers = "proxy_set_header Host $http_host; proxy_set_header X-Forwarded-Proto https;"
        upgrade = "proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;"
        ingress = Nginx(
            f"server {{ listen 127.0.0.1:{port} ssl; ssl_certificate {certificate}; ssl_certificate_key {key};"
            f" location / {{ proxy_pass http://127.0.0.1:{self.entrypoint}; {headers} {upgrade} }} }}"
        )
        self.addCleanup(ingress.stop)
        ingress.ready(port)
        return f"{HOST}:{port}"


class ViteTests(BrowserCase):
    def project(self) -> int:
        vite = optional("RTUNNEL_TEST_VITE", "vite")
        self.home = Path(self.mktemp()).absolute()
        self.home.mkdir()
        (self.home / "index.html").write_text('<title>shop</title><p id="said"></p><script type="module" src="/main.js"></script>')
        (self.home / "main.js").write_text('import { said } from "./said.js"\nsaid()\n')
        self.says("first")
        port = free_port()
        self.run_server(vite, "--host", "127.0.0.1", "--port", str(port), "--strictPort", cwd=str(self.home), port=port)
        return port

    def says(self, word: str) -> None:
        (self.home / "said.js").write_text(
            f'export function said() {{ document.getElementById("said").innerText = "it says {word}" }}\n'
            "if (import.meta.hot) import.meta.hot.accept((changed) => changed.said())\n"
        )

    def test_plain(self) -> None:
        self.browse(self.project()).wait_for("Blocked request")

    def test_as_local(self) -> None:
        """The page shows, and a change of a module comes without a reload: through Vite's WebSocket."""
        browser = self.browse(self.project(), "--as-local")
        browser.wait_for("it says first")
        browser.run("window.kept = 'kept'")
        self.says("second")
        browser.wait_for("it says second")
        self.assertEqual(browser.run("window.kept"), "kept")


DJANGO = """
from django.http import HttpResponse
from django.shortcuts import redirect
from django.template import engines
from django.urls import path

DEBUG = True
SECRET_KEY = "test"
ROOT_URLCONF = __name__
MIDDLEWARE = ["django.middleware.common.CommonMiddleware", "django.middleware.csrf.CsrfViewMiddleware"]
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates"}]
CSRF_COOKIE_DOMAIN = "localhost"
CSRF_COOKIE_SECURE = True

FORM = "<title>shop</title><form method=post>{% csrf_token %}<input name=word value=tea><button>buy</button></form>{{ bought }}"

def shop(request):
    if request.method == "POST":
        return redirect(request.build_absolute_uri("/?bought=" + request.POST["word"]))
    return HttpResponse(engines["django"].from_string(FORM).render({"bought": "bought: " + request.GET.get("bought", "")}, request))

urlpatterns = [path("", shop)]
"""


class DjangoCase(BrowserCase):
    def project(self) -> int:
        admin = optional("RTUNNEL_TEST_DJANGO", "django-admin")
        home = Path(self.mktemp()).absolute()
        home.mkdir()
        (home / "shop.py").write_text(DJANGO)
        port = free_port()
        words = ("runserver", "--noreload", "--settings", "shop", "--pythonpath", str(home), f"127.0.0.1:{port}")
        self.run_server(admin, *words, cwd=str(home), port=port)
        return port

    def buy(self, browser: Browser, place: str) -> None:
        """A form whose cookie is Secure and of localhost, whose token belongs to it, and whose answer redirects absolutely."""
        browser.wait_for("bought:")
        browser.run("document.querySelector('button').click()")
        browser.wait_for("bought: tea")
        self.assertEqual(browser.run("location.href"), f"{place}/?bought=tea")


class DjangoTests(DjangoCase):
    def test_plain(self) -> None:
        self.browse(self.project()).wait_for("DisallowedHost")

    def test_as_local(self) -> None:
        self.buy(self.browse(self.project(), "--as-local"), f"http://{self.place}")

    def test_behind_tls(self) -> None:
        """Of which the server does not know: what the browser says of its origin counts."""
        self.serve(self.project(), "--as-local")
        place = f"https://{self.behind_tls()}"
        self.buy(self.look_at(f"{place}/"), place)


class DjangoTrustingTests(DjangoCase):
    """Behind an Ingress that the server trusts."""

    trusting = ("--trusted-proxy", "127.0.0.1/32")

    def test_behind_tls(self) -> None:
        self.serve(self.project(), "--as-local")
        place = f"https://{self.behind_tls()}"
        self.buy(self.look_at(f"{place}/"), place)


CHANNELS = """
(async () => {
    const token = document.cookie.match(/_xsrf=([^;]*)/)[1];
    const post = {method: "POST", headers: {"X-XSRFToken": token}};
    const kernel = await (await fetch("/api/kernels", post)).json();
    return await new Promise((resolve) => {
        const socket = new WebSocket(`ws://${location.host}/api/kernels/${kernel.id}/channels`);
        socket.onopen = () => resolve("open");
        socket.onerror = () => resolve("refused");
    });
})()
"""


class JupyterTests(BrowserCase):
    def lab(self) -> int:
        jupyter = optional("RTUNNEL_TEST_JUPYTER", "jupyter-lab")
        home = Path(self.mktemp()).absolute()
        home.mkdir()
        port = free_port()
        root = ("--allow-root",) if hasattr(os, "geteuid") and not os.geteuid() else ()
        words = ("--no-browser", f"--port={port}", "--ServerApp.port_retries=0", "--IdentityProvider.token=", *root)
        homes = {name: str(home / name) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "HOME")}
        self.run_server(jupyter, *words, cwd=str(home), port=port, env=homes)
        return port

    def test_plain(self) -> None:
        self.browse(self.lab()).wait_for("403 : Forbidden")

    def test_as_local(self) -> None:
        """The page shows, and a kernel runs: its WebSocket is accepted."""
        browser = self.browse(self.lab(), "--as-local")
        wait_until(lambda: "_xsrf=" in str(browser.run("document.cookie")), "the page", patience=90)
        self.assertEqual(browser.run("document.title"), "JupyterLab")
        self.assertEqual(browser.run(CHANNELS), "open")
