"""SIGHUP with real processes: what changed is applied, what did not change never notices."""

from __future__ import annotations

import signal
import tempfile
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from threading import Event, Thread
from uuid import uuid4

from twisted.trial.unittest import TestCase

from tests.process.test_users import user_line
from tests.support.processes import Process, free_port, listening, rtunnel, wait_until
from tests.support.services import NamedService

RELOADS = 100
"""As many lines of one kind as the log has in a minute: each reload is waited for by its line."""
WARM = 20
"""Reloads until the process has all the memory that it needs for what is done here."""
GROWTH = 3 * 2**20
"""Bytes that the rest of the reloads may add: a leak of 40 KB at each would be more."""


class SteadyVisitors:
    """Visitors of one host who ask without pause, each on one kept-alive connection, and write down what was not answered."""

    def __init__(self, port: int, host: str, count: int = 3) -> None:
        self.answered = 0
        self.failures: list[str] = []
        self._port = port
        self._host = host
        self._over = Event()
        self._threads = [Thread(target=self._visit) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def _visit(self) -> None:
        connection = HTTPConnection("127.0.0.1", self._port, timeout=20)
        while not self._over.is_set():
            try:
                connection.request("GET", "/", headers={"Host": self._host})
                response = connection.getresponse()
                body = response.read()
                if response.status != 200 or body != b"steady" or response.will_close:
                    self.failures.append(f"{response.status} {body!r}, will close: {response.will_close}")
            except (OSError, HTTPException) as error:
                self.failures.append(repr(error))
                connection.close()
            self.answered += 1
        connection.close()

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()


class ReloadTestCase(TestCase):
    """A server and a client with files; a tunnel "steady" that no test touches."""

    timeout = 120

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.listen, self.port, self.extra_listen, self.extra_port = (free_port() for _ in range(4))
        self.steady, self.other = str(uuid4()), str(uuid4())
        self.service, self.second = NamedService("steady"), NamedService("other")
        self.addCleanup(self.service.stop)
        self.addCleanup(self.second.stop)

    def server_file(self, *, rules: str = "", http: str = "", extra: str = "") -> str:
        return f"""
listeners:
  - listen: ws://127.0.0.1:{self.listen}/proxy
    entrypoint: 127.0.0.1:{self.port}
    routes:
      steady.local: {self.steady}
{rules}
{http}
{extra}
"""

    def client_file(self, *, more: str = "") -> str:
        return f"""
server: ws://127.0.0.1:{self.listen}/proxy
backoff-max: 100ms
backoff-min: 50ms
connectors:
  - tunnel: {self.steady}
    target: 127.0.0.1:{self.service.port}
{more}
"""

    def other_connector(self, weight: int = 1) -> str:
        return f"  - {{tunnel: {self.other}, target: '127.0.0.1:{self.second.port}', weight: {weight}}}"

    def write(self, name: str, text: str) -> str:
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        return str(path)

    def start(self, command: str, text: str) -> Process:
        process = rtunnel(command, "-c", self.write(f"{command}.yaml", text))
        self.addCleanup(process.stop)
        process.wait_for("entrypoint on" if command == "server" else "joined")
        return process

    def reload(self, process: Process, name: str, text: str, says: str = "reloaded:") -> None:
        """Write a file and wait until the process has read it."""
        self.write(name, text)
        count = process.output.count(says)
        process.send(signal.SIGHUP)
        process.wait_for(says, count + 1)

    def ask(self, host: str, port: int | None = None) -> tuple[int, bytes]:
        connection = HTTPConnection("127.0.0.1", port or self.port, timeout=20)
        try:
            connection.request("GET", "/", headers={"Host": host})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()


class ServerTests(ReloadTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.server = self.start("server", self.server_file())
        self.client = self.start("client", self.client_file())

    def test_rules(self) -> None:
        self.assertEqual(self.ask("more.local")[0], 404)
        self.reload(self.server, "server.yaml", self.server_file(rules=f"      more.local: {self.steady}"))
        self.assertEqual(self.ask("more.local"), (200, b"steady"))
        self.reload(self.server, "server.yaml", self.server_file())
        self.assertEqual(self.ask("more.local")[0], 404)
        self.assertIn(f"listener 127.0.0.1:{self.listen} changed (rules +0 -1)", self.server.output)

    def test_listener_and_entrypoint(self) -> None:
        extra = (
            f"  - listen: tcp://127.0.0.1:{self.extra_listen}\n    entrypoint: 127.0.0.1:{self.extra_port}\n"
            f"    route: extra.local={self.steady}"
        )
        self.reload(self.server, "server.yaml", self.server_file(extra=extra))
        self.assertEqual(self.ask("extra.local", self.extra_port), (200, b"steady"))
        self.reload(self.server, "server.yaml", self.server_file())
        wait_until(lambda: not listening(self.extra_listen) and not listening(self.extra_port), "closed ports")
        self.assertEqual(self.ask("steady.local"), (200, b"steady"))

    def test_tunnel_without_a_rule_lets_its_connector_go(self) -> None:
        rule = f"      other.local: {self.other}"
        self.reload(self.server, "server.yaml", self.server_file(rules=rule))
        self.reload(self.client, "client.yaml", self.client_file(more=self.other_connector()))
        wait_until(lambda: self.ask("other.local") == (200, b"other"), "the other tunnel")
        self.reload(self.server, "server.yaml", self.server_file())
        self.client.wait_for(f"tunnel {self.other[:8]} at 127.0.0.1:{self.listen}: lost the link")
        self.assertEqual(self.ask("other.local")[0], 404)
        self.reload(self.server, "server.yaml", self.server_file(rules=rule))
        wait_until(lambda: self.ask("other.local") == (200, b"other"), "the other tunnel again")
        self.assertEqual(self.client.output.count(f"joined tunnel {self.steady[:8]}"), 1)

    def test_path_of_the_websocket(self) -> None:
        """For new clients; the link that is there stays."""
        self.reload(self.server, "server.yaml", self.server_file().replace("/proxy", "/other"))
        self.assertEqual(self.ask("steady.local"), (200, b"steady"))
        self.client.stop()
        client = self.start("client", self.client_file().replace("/proxy", "/other"))
        wait_until(lambda: self.ask("steady.local") == (200, b"steady"), "the client at the new path")
        client.stop()

    def test_broken_file(self) -> None:
        self.reload(self.server, "server.yaml", self.server_file(http="    http: {pool: maybe}"), "not reloaded, nothing changed")
        self.assertIn('http.pool "maybe": must be true or false', self.server.output)
        self.assertEqual(self.ask("steady.local"), (200, b"steady"))

    def test_port_that_is_taken(self) -> None:
        """Nothing of the file is applied, also not the rule beside it."""
        taken = f"127.0.0.1:{self.service.port}"
        extra = f"  - listen: 127.0.0.1:{self.extra_listen}\n    entrypoint: {taken}\n    route: a={self.steady}"
        text = self.server_file(rules=f"      more.local: {self.steady}", extra=extra)
        self.reload(self.server, "server.yaml", text, "not reloaded, nothing changed")
        self.assertIn(f"the entrypoint cannot listen on {taken}: Address already in use", self.server.output)
        wait_until(lambda: not listening(self.extra_listen), "the port that could be had is closed again")
        self.assertEqual(self.ask("more.local")[0], 404)

    def test_what_needs_a_restart_is_said(self) -> None:
        self.reload(self.server, "server.yaml", "admin: 127.0.0.1:1\ndrain: 7s" + self.server_file())
        self.assertIn("--admin is not reloaded; restart the process to change it", self.server.output)
        self.assertIn("reloaded: drain is 7 s now", self.server.output)

    def test_requests_under_way_end_when_their_entrypoint_goes(self) -> None:
        text = self.server_file().replace(
            f"entrypoint: 127.0.0.1:{self.port}", f"entrypoints: ['127.0.0.1:{self.port}', '127.0.0.1:{self.extra_port}']"
        )
        self.reload(self.server, "server.yaml", text)
        connection = HTTPConnection("127.0.0.1", self.extra_port, timeout=20)
        self.addCleanup(connection.close)
        connection.request("GET", "/wait", headers={"Host": "steady.local"})
        wait_until(lambda: self.service.requests, "the request at its target")
        self.reload(self.server, "server.yaml", self.server_file())
        wait_until(lambda: not listening(self.extra_port), "a closed port")
        self.service.go.set()
        self.assertEqual(connection.getresponse().read(), b"steady")


class ClientTests(ReloadTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.server = self.start("server", self.server_file(rules=f"      other.local: {self.other}"))
        self.client = self.start("client", self.client_file())

    def test_connectors_come_and_go(self) -> None:
        self.assertEqual(self.ask("other.local")[0], 503)
        self.reload(self.client, "client.yaml", self.client_file(more=self.other_connector()))
        wait_until(lambda: self.ask("other.local") == (200, b"other"), "the other tunnel")
        self.reload(self.client, "client.yaml", self.client_file())
        wait_until(lambda: self.ask("other.local")[0] == 503, "nobody serves the other tunnel")
        self.assertEqual(self.client.output.count(f"joined tunnel {self.steady[:8]}"), 1)

    def test_a_changed_connector_is_replaced_without_a_gap(self) -> None:
        self.reload(self.client, "client.yaml", self.client_file(more=self.other_connector()))
        wait_until(lambda: self.ask("other.local") == (200, b"other"), "the other tunnel")
        failures: list[object] = []
        over = Event()

        def visit() -> None:
            while not over.is_set():
                answer = self.ask("other.local")
                if answer != (200, b"other"):
                    failures.append(answer)

        visitor = Thread(target=visit)
        visitor.start()
        for weight in (2, 3, 4):
            self.reload(self.client, "client.yaml", self.client_file(more=self.other_connector(weight)))
            self.server.wait_for(f"left tunnel {self.other[:8]}", weight - 1)
        over.set()
        visitor.join()
        self.assertEqual(failures, [])
        self.assertEqual(self.client.output.count(f"joined tunnel {self.steady[:8]}"), 1)

    def test_broken_file(self) -> None:
        self.reload(self.client, "client.yaml", "connectors: 5", "not reloaded, nothing changed")
        self.assertEqual(self.ask("steady.local"), (200, b"steady"))

    def test_stop_in_the_middle_of_a_handover(self) -> None:
        """The new connector cannot join; the old one waits for it when the process is told to stop."""
        more = self.other_connector() + f"\n  - {{tunnel: {uuid4()}, target: ':1'}}"
        self.reload(self.client, "client.yaml", self.client_file(more=more).replace("backoff-min: 50ms", "backoff-min: 40ms"))
        self.client.wait_for("refused")
        self.client.send(signal.SIGTERM)
        self.assertEqual(self.client.wait(), 0)


class LoadTests(ReloadTestCase):
    """Hundreds of reloads while requests run: what is not touched never notices, and memory comes back."""

    def setUp(self) -> None:
        super().setUp()
        self.user = user_line("steady", "pass:word")
        self.write("users", self.user)
        self.write("auth", "steady:pass:word")

    def server_file(self, **parts: str) -> str:
        return "users: users\n" + super().server_file(**parts)

    def client_file(self, **parts: str) -> str:
        return "auth-file: auth\n" + super().client_file(**parts)

    def test_reloads_under_load(self) -> None:
        server = self.start("server", self.server_file())
        client = self.start("client", self.client_file())
        visitors = SteadyVisitors(self.port, "steady.local")
        self.addCleanup(visitors.stop)
        download = HTTPConnection("127.0.0.1", self.port, timeout=20)
        self.addCleanup(download.close)
        size = 200_000_000
        download.request("GET", f"/down/{size}", headers={"Host": "steady.local"})
        answer = download.getresponse()
        size -= len(answer.read(65536))
        memory = {}
        hashed = self.user.partition(":")[2]
        for number in range(RELOADS):
            self.write("users", self.user + "".join(f"user{number}-{one}:{hashed}" for one in range(number % 7)))
            self.reload(server, "server.yaml", self.changing(number))
            if number % 4 == 3:
                more = self.other_connector(1 + number % 8) if number % 8 == 3 else ""
                self.reload(client, "client.yaml", self.client_file(more=more))
            if number in (WARM, RELOADS - 1):
                memory[number] = server.resident, client.resident
        while size:
            size -= len(answer.read(min(size, 2**20)))
        before = visitors.answered
        wait_until(lambda: visitors.answered > before + 20, "more answers")
        visitors.stop()
        self.assertEqual(visitors.failures, [])
        self.assertGreater(visitors.answered, RELOADS)
        for early, late in zip(memory[WARM], memory[RELOADS - 1], strict=True):
            self.assertLess(late - early, GROWTH, memory)
        self.assertEqual(client.output.count(f"joined tunnel {self.steady[:8]}"), 1)
        for process in (server, client):
            self.assertNotIn("Traceback", process.output)
            self.assertNotIn("not reloaded", process.output)

    def changing(self, number: int) -> str:
        """Rules, tunnels, limits, an entrypoint and a whole listener that come and go."""
        rules = [f"      host{number}-{rule}.local: {uuid4()}" for rule in range(number % 50)]
        if number % 3:
            rules.append(f"      other.local: {self.other}")
        extra = ""
        if number % 5 == 1:
            extra = (
                f"  - listen: tcp://127.0.0.1:{self.extra_listen}\n    entrypoint: 127.0.0.1:{self.extra_port}\n"
                f"    routes: {{extra.local: {self.other}}}"
            )
        return self.server_file(rules="\n".join(rules), http=f"    http: {{idle-timeout: {60 + number % 7}s}}", extra=extra)
