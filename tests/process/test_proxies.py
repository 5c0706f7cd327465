"""A client behind a corporate proxy: real processes and a real forward proxy."""

from __future__ import annotations

import sys
from http.client import HTTPConnection
from pathlib import Path
from uuid import uuid4

from twisted.trial.unittest import TestCase

from tests.support.authority import Authority
from tests.support.forward_proxy import ForwardProxy
from tests.support.processes import ROOT, Process, free_port, listening, rtunnel, wait_until
from tests.support.services import NamedService

HOST = "pod.local"
SERVER = "server.corp.example"
"""A name that the proxy knows, and nobody else."""
LOGIN = "ada:sword@fish"
USER = "ada:sword%40fish"
CLEAN = dict.fromkeys(
    ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"), ""
)


class ProxyTests(TestCase):
    timeout = 60

    def setUp(self) -> None:
        self.authority = Authority(Path(self.mktemp()).resolve())
        self.tunnel = str(uuid4())
        self.tunnel_port, self.port = free_port(), free_port()
        service = NamedService("pod")
        self.addCleanup(service.stop)
        self.target = f"rtcp://:0/127.0.0.1:{service.port}"

    def start(self, *arguments: str, **environ: str) -> Process:
        process = rtunnel(*arguments, env=CLEAN | environ)
        self.addCleanup(process.stop)
        return process

    def proxy(self, login: str | None = None, files: tuple[str, str] | None = None) -> ForwardProxy:
        proxy = ForwardProxy(login, files, {SERVER: "127.0.0.1", "second.corp.example": "127.0.0.1"})
        self.addCleanup(proxy.stop)
        return proxy

    def server(self) -> str:
        """Start it; returns the last -F of a client."""
        certificate, key = self.authority.issue(SERVER)
        self.start(
            "server",
            "-L",
            f"tunnel+wss://127.0.0.1:{self.tunnel_port}?entrypoint=127.0.0.1:{self.port}&tunnel={HOST}:{self.tunnel}"
            f"&certFile={certificate}&keyFile={key}",
        )
        wait_until(lambda: listening(self.port), "the entrypoint listens")
        return f"tunnel+wss://{SERVER}:{self.tunnel_port}?tunnel.id={self.tunnel}&caFile={self.authority.ca_file}"

    def answer(self) -> tuple[int, bytes]:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", "/", headers={"Host": HOST})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def check(self, client: Process, *proxies: ForwardProxy) -> None:
        """It has joined, through each of these, and serves."""
        client.wait_for("joined tunnel")
        self.assertEqual(self.answer(), (200, b"pod"))
        self.assertEqual(proxies[-1].asked, [f"{SERVER}:{self.tunnel_port}"])
        self.assertNotRegex(client.output, "sword(@|%40)fish")

    def test_http(self) -> None:
        server, proxy = self.server(), self.proxy(LOGIN)
        url = f"http://{USER}@127.0.0.1:{proxy.port}"
        client = self.start("client", "-L", self.target, "-F", url, "-F", server)
        self.check(client, proxy)
        self.assertIn("-F contains a password, which is visible", client.output)
        self.assertIn(f"is reached through http proxy 127.0.0.1:{proxy.port}", client.output)

    def test_socks(self) -> None:
        """The plain form, from the environment: no warning."""
        server, proxy = self.server(), self.proxy(LOGIN)
        client = self.start("client", "-L", self.target, "-F", server, RTUNNEL_PROXY=f"socks5://{USER}@127.0.0.1:{proxy.port}")
        self.check(client, proxy)
        self.assertNotIn("warn", client.output)

    def test_chain(self) -> None:
        """A proxy with TLS of its own, and another one behind it."""
        server = self.server()
        first, second = self.proxy(files=self.authority.issue("127.0.0.1", file="first")), self.proxy()
        client = self.start(
            *("client", "-L", self.target),
            *("-F", f"https://127.0.0.1:{first.port}?caFile={self.authority.ca_file}"),
            *("-F", f"socks5://second.corp.example:{second.port}"),
            *("-F", server),
        )
        self.check(client, first, second)
        self.assertEqual(first.asked, [f"second.corp.example:{second.port}"])

    def test_usual_variables(self) -> None:
        server, proxy = self.server(), self.proxy()
        client = self.start("client", "-L", self.target, "-F", server, HTTPS_PROXY=f"http://127.0.0.1:{proxy.port}")
        self.check(client, proxy)

    def test_direct(self) -> None:
        """NO_PROXY, and --proxy direct: the name is unknown here, and the proxy is not asked."""
        proxy = self.proxy()
        server = f"tunnel+wss://{SERVER}:1?tunnel.id={self.tunnel}"
        usual = {"HTTPS_PROXY": f"http://127.0.0.1:{proxy.port}"}
        for more, environ in (((), {"NO_PROXY": ".corp.example"}), (("--proxy", "direct"), {})):
            client = self.start("client", "-L", self.target, "-F", server, *more, **usual, **environ)
            client.wait_for("cannot join: ")
            self.assertEqual(proxy.asked, [])
            client.stop()

    def test_page(self) -> None:
        """The commands of docs/corporate-proxy.md, as they stand but for what stands between the two ends."""
        self.server()
        proxy = self.proxy("ada:swordfish")
        page = (ROOT / "docs" / "corporate-proxy.md").read_text(encoding="utf-8")
        for before, after in {
            "tunnel.example.org:443/proxy": f"{SERVER}:{self.tunnel_port}",
            "tunnel.example.org:443?path=/proxy&": f"{SERVER}:{self.tunnel_port}?caFile={self.authority.ca_file}&",
            "ada:swordfish@proxy.example.org:3128": f"ada:swordfish@127.0.0.1:{proxy.port}",
            "proxy.example.org:3128": f"ada:swordfish@127.0.0.1:{proxy.port}",
            "inner.example.org:1080": f"ada:swordfish@127.0.0.1:{proxy.port}",
            "10bc451e-59dc-4c70-999e-91a30813ac78": self.tunnel,
            "rtunnel client": f"exec {sys.executable} -m rtunnel client",
        }.items():
            page = page.replace(before, after)
        commands = [line.strip() for line in page.splitlines() if line.startswith("    ")]
        self.assertEqual(len(commands), 5)
        for command in commands:
            more = CLEAN | {"RTUNNEL_CA_FILE": "" if "caFile" in command else self.authority.ca_file}
            process = Process(["bash", "-c", command], env=more, cwd=str(self.authority.directory))
            self.addCleanup(process.stop)
            if "rtunnel" in command:
                process.wait_for("joined tunnel")
                process.stop()
            else:
                self.assertEqual(process.wait(), 0)

    def test_refusals(self) -> None:
        proxy = self.proxy(LOGIN)
        server = f"tunnel+wss://{SERVER}:{self.tunnel_port}?tunnel.id={self.tunnel}"
        for scheme, user, words in [
            ("http", "", "asks for a user and password; put them into its URL"),
            ("http", "ada:wrong@", "refuses the user and password of its URL"),
            ("http", f"{USER}@", f"cannot reach {SERVER}:{self.tunnel_port} (it answered 502 Bad Gateway)"),
            ("socks5", "ada:wrong@", "refuses the user and password of its URL"),
            ("socks5", f"{USER}@", f"cannot reach {SERVER}:{self.tunnel_port} (connection refused)"),
        ]:
            client = self.start("client", "-L", self.target, "-F", f"{scheme}://{user}127.0.0.1:{proxy.port}", "-F", server)
            client.wait_for(f"cannot join: the {scheme} proxy 127.0.0.1:{proxy.port} {words}")
            client.stop()
        port = free_port()
        client = self.start("client", "-L", self.target, "-F", f"http://127.0.0.1:{port}", "-F", server)
        client.wait_for(f"cannot join: the http proxy 127.0.0.1:{port} cannot be reached: ")
