"""The mistakes of docs/troubleshooting.md: the real command says in its one line what the page says it does."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Sequence
from pathlib import Path
from threading import Thread
from uuid import uuid4

from twisted.trial.unittest import SynchronousTestCase

from tests.process.test_commands import TWISTD, run
from tests.support.authority import Authority
from tests.support.processes import Nginx, Process, free_port, rtunnel, run_rtunnel, wait_until
from tests.test_troubleshooting import matches, rows_of

UUID = str(uuid4())
SERVER = ("--listen", "127.0.0.1:1", "--entrypoint", "127.0.0.1:2", "--route", f"shop.local={UUID}")
CLIENT = ("--server", "ws://127.0.0.1:1", "--tunnel", UUID, "--target", ":3000")
URL = f"127.0.0.1:1?tunnel.id={UUID}"

FILES = {
    "tab.yaml": "listen: :1\n\tentrypoint: :2\n",
    "space.yaml": "listen:8421\nentrypoint: :2\n",
    "star.yaml": f"listen: :1\nroutes:\n  *.shop.local: {UUID}\n",
    "quote.yaml": 'listen: ":1\nentrypoint: :2\n',
    "list.yaml": "listeners:\n  listen: :1\n",
    "key.yaml": "listne: :1\n",
}
PROFILE = f"host: shop.local\nserver: ws://shop.local\ntunnel: {UUID}\nauth: bob:secret\n"


def without(option: str, words: Sequence[str]) -> list[str]:
    """Arguments without an option and its value."""
    at = list(words).index(option)
    return [*words[:at], *words[at + 2 :]]


def replaced(option: str, value: str, words: Sequence[str]) -> list[str]:
    """Arguments with another value of an option."""
    return [*without(option, words), option, value]


class StartTests(SynchronousTestCase):
    """Commands that end at once."""

    def commands(self, taken: int) -> list[list[str]]:
        """What is typed, each with one mistake of the page.

        :param taken: a port in use.
        """
        return [
            ["client", "--tunel", UUID],
            ["client", *CLIENT, "--weight"],
            ["client", *CLIENT, "--entrypoint", ":80"],
            ["client", *without("--server", CLIENT)],
            ["servr"],
            [*TWISTD, "status"],
            ["client", *replaced("--tunnel", UUID[:8], CLIENT)],
            ["client", *CLIENT, "--weight", "256"],
            ["client", *replaced("--target", "3000", CLIENT)],
            ["client", *replaced("--server", "wss:/shop.local", CLIENT)],
            ["client", *replaced("--server", "shop.local", CLIENT)],
            ["client", *replaced("--target", "https://localhost:3000", CLIENT)],
            ["client", *replaced("--server", "ftp://shop.local", CLIENT)],
            ["client", *replaced("--server", "tcp://shop.local:1/proxy", CLIENT)],
            ["client", *CLIENT, "--auth", "ada:swordfish"],
            ["server", *replaced("--route", f"http://shop.local={UUID}", SERVER)],
            ["server", *replaced("--route", "shop.local", SERVER)],
            ["server", *replaced("--listen", "wss://:1", SERVER)],
            ["server", *SERVER, "--permissions", "file"],
            ["server", *replaced("--entrypoint", "127.0.0.1:1", SERVER)],
            ["server", *replaced("--listen", f"127.0.0.1:{taken}", SERVER)],
            ["server", *replaced("--listen", "192.0.2.1:8421", SERVER)],
            ["client", "-c", "nothing.yaml"],
            ["server", "-c", "key.yaml"],
            ["server", "-c", "list.yaml"],
            ["server", "-c", "tab.yaml"],
            ["server", "-c", "space.yaml"],
            ["server", "-c", "star.yaml"],
            ["server", "-c", "quote.yaml"],
            ["client", "-L", "rtcp://:0/:80", "-F", f"ws://{URL}"],
            ["client", "-L", "rtcp://:0/:80", "-F", f"tunnel+ws://{URL}&foo=1"],
            ["client", "--profile", "nosuch"],
            ["client", "--profile", "open"],
            ["client", "--profile", "shop", "--server", "ws://127.0.0.1:1", "--target", ":3000"],
            ["login", "rtunnel1_abc"],
            ["status", "4194305"],
            ["status", "--admin", f"127.0.0.1:{free_port()}"],
        ]

    def said(self, words: Sequence[str], folder: Path) -> str:
        """The line of a command."""
        if words[: len(TWISTD)] == [*TWISTD]:
            ended = run(words, cwd=str(folder))
        else:
            ended = run_rtunnel(*words, env={"XDG_CONFIG_HOME": str(folder)}, cwd=str(folder))
        self.assertEqual((ended.returncode, ended.stderr.count("\n")), (1, 1), (words, ended.stderr))
        return ended.stderr

    def test_each(self) -> None:
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        for name, text in FILES.items():
            (folder / name).write_text(text)
        profiles = folder / "rtunnel" / "profiles"
        profiles.mkdir(parents=True)
        profiles.chmod(0o700)
        for name, mode in {"shop": 0o600, "open": 0o644}.items():
            (profiles / f"{name}.yaml").write_text(PROFILE)
            (profiles / f"{name}.yaml").chmod(mode)
        listed = list(rows_of("mistake at the start"))
        with socket.create_server(("127.0.0.1", 0)) as taken:
            commands = self.commands(taken.getsockname()[1])
            self.assertEqual(len(commands), len(listed))
            lines = [self.said(words, folder) for words in commands]
        for line, (mistake, pattern, _) in zip(lines, listed, strict=True):
            self.assertTrue(matches(pattern.strip("`"), line), f"{mistake}: {line}")
            self.assertNotIn(UUID, line)


def first_lines(client: Process, words: str) -> list[str]:
    """Return the warnings of a client that have some words, but for those that it repeats."""
    lines = client.output.splitlines()
    return [line for line in lines if " warn: " in line and words in line and " times in a row" not in line]


class Played:
    """A server of one sentence: says it to each connection, waits for a request, closes."""

    def __init__(self, sentence: bytes) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._socket.getsockname()[1])
        self._sentence = sentence
        self._thread = Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                with connection, contextlib.suppress(OSError):
                    connection.sendall(self._sentence)
                    connection.recv(65536)

    def stop(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()


SOON = ", handshake-timeout: 500ms"
TO_SERVER = (
    "proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade; "
    "proxy_set_header Host HOST; "
)
PATHS = "redirected wall page nothing rewritten nobody visitors 401 403 502 503 504 dropped old"
"""Of the Ingress, each with another mistake."""


class JoinTests(SynchronousTestCase):
    """One client with a connector for each mistake; before it a real server, a real nginx as the Ingress, and strangers."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).resolve()
        self.folder.mkdir()
        self.authority = Authority(self.folder / "ca")
        self.certificate = self.authority.issue("localhost", file="server")
        names = ("ws", "entrypoint", "users", "second", "wss", "tcp", "ingress", "tls", "dead")
        self.ports = {name: free_port() for name in names}
        self.closing, self.ssh = Played(b""), Played(b"SSH-2.0-OpenSSH_9.2\r\n")
        self.silent = socket.create_server(("127.0.0.1", 0))
        for stop in (self.closing.stop, self.ssh.stop, self.silent.close):
            self.addCleanup(stop)
        self.connectors: list[str] = []

    def at(self, name: str) -> str:
        return f"127.0.0.1:{self.ports[name]}"

    def write(self, name: str, text: str) -> str:
        (self.folder / name).write_text(text)
        return str(self.folder / name)

    def start_server(self) -> None:
        auth, (certificate, key) = self.write("auth", "ada:swordfish\n"), self.certificate
        server = rtunnel(
            "server",
            "-c",
            self.write(
                "server.yaml",
                f"""
listeners:
- {{listen: "ws://{self.at("ws")}/proxy", entrypoint: "{self.at("entrypoint")}", routes: {{shop.local: {UUID}}}}}
- {{listen: "ws://{self.at("users")}/proxy", entrypoint: "{self.at("second")}", routes: {{shop.local: {UUID}}}, auth-file: {auth}}}
- {{listen: "wss://{self.at("wss")}/proxy", direct: true, tls: {{cert-file: {certificate}, key-file: {key}}}}}
- {{listen: "tcp://{self.at("tcp")}", direct: true}}
""",
            ),
        )
        self.addCleanup(server.stop)
        server.wait_for("tunnel listener (tcp)")

    def start_ingress(self) -> None:
        to_server = TO_SERVER.replace("HOST", "$host")
        certificate, key = self.certificate
        ingress = Nginx(f"""
server {{
    listen {self.at("ingress")};
    server_name shop.local;
    location = /redirected {{ return 308 https://$host$request_uri; }}
    location = /wall {{ return 302 https://sso.example.org/login?to=$request_uri; }}
    location = /page {{ return 200 "<html>hello"; }}
    location = /rewritten {{ {to_server} proxy_pass http://{self.at("ws")}/; }}
    location = /nobody {{ {TO_SERVER.replace("HOST", "nobody.local")} proxy_pass http://{self.at("entrypoint")}; }}
    location = /visitors {{ {to_server} proxy_pass http://{self.at("entrypoint")}; }}
    location = /401 {{ return 401; }}
    location = /403 {{ return 403; }}
    location = /502 {{ proxy_pass http://{self.at("dead")}; }}
    location = /503 {{ return 503; }}
    location = /504 {{ return 504; }}
    location = /dropped {{ proxy_http_version 1.1; proxy_pass http://{self.at("ws")}/proxy; }}
    location = /old {{ proxy_pass http://{self.at("ws")}/proxy; }}
}}
server {{ listen {self.at("tls")} ssl; ssl_certificate {certificate}; ssl_certificate_key {key}; }}
""")
        self.addCleanup(ingress.stop)
        ingress.ready(self.ports["ingress"])

    def plan(self, server: str, *, tunnel: str = "", more: str = "") -> None:
        """Add a connector, to a tunnel whose ID tells its line from the others'."""
        tunnel = tunnel or f"{len(self.connectors):08x}-0000-4000-8000-000000000000"
        self.connectors.append(f"- {{server: '{server}', tunnel: {tunnel}{more}}}")

    def plan_all(self) -> None:
        """In the order of the page."""
        ingress, ws = f"ws://{self.at('ingress')}", f"ws://{self.at('ws')}/proxy"
        trusting = f", tls: {{ca-file: {self.authority.ca_file}}}"
        self.plan(f"ws://{self.at('dead')}")
        self.plan("ws://nosuch.invalid/proxy")
        for path in PATHS.split():
            self.plan(f"{ingress}/{path}")
        self.plan(f"ws://{self.at('tls')}/proxy")
        self.plan(f"ws://{self.at('wss')}/proxy")
        self.plan(f"wss://{self.at('ingress')}/proxy")
        self.plan(f"tls://{self.at('tcp')}")
        self.plan(f"tcp://{self.at('wss')}")
        self.plan(f"tcp://{self.at('ingress')}")
        self.plan(f"tcp://{self.at('ws')}", more=SOON)
        self.plan(f"ws://{self.at('tcp')}")
        self.plan(f"ws://127.0.0.1:{self.ssh.port}")
        self.plan(f"ws://127.0.0.1:{self.silent.getsockname()[1]}", more=SOON)
        self.plan(f"wss://localhost:{self.ports['wss']}/proxy")
        self.plan(f"wss://127.0.0.1:{self.ports['wss']}/proxy", more=trusting)
        self.plan(ws)
        self.plan(f"ws://{self.at('users')}/proxy")
        self.plan(f"ws://{self.at('users')}/proxy", more=f", auth-file: {self.write('wrong', 'ada:guess')}")
        self.plan(ws, tunnel=UUID)

    def test_each(self) -> None:
        self.start_server()
        self.start_ingress()
        self.plan_all()
        listed = list(rows_of("mistake on the way to the server"))
        self.assertEqual(len(self.connectors), len(listed))
        common = ["target: 127.0.0.1:1", "host-header: shop.local", "backoff-min: 30s", "connectors:"]
        client = rtunnel("client", "-c", self.write("client.yaml", "\n".join([*common, *self.connectors])))
        self.addCleanup(client.stop)
        # the last one joins, and then its target is missing
        *refused, (_, idle, _) = listed
        wait_until(
            lambda: all(first_lines(client, f"tunnel {number:08x} at ") for number in range(len(refused))), "a line for each"
        )
        wait_until(lambda: first_lines(client, "the target "), "the line about the target")
        for number, (mistake, pattern, _) in enumerate(refused):
            (line,) = first_lines(client, f"tunnel {number:08x} at ")
            self.assertTrue(matches(pattern.strip("`"), line), f"{mistake}: {line}")
        (line,) = first_lines(client, "the target ")
        self.assertTrue(matches(idle.strip("`"), line), line)
        self.assertEqual(first_lines(client, "WebSocket connection") + first_lines(client, "dropping connection"), [])
