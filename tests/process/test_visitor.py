"""A visitor process and what others see of its visits: reload, names, status, access log, the commands of its page."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, ClassVar
from uuid import uuid4

from twisted.trial.unittest import TestCase

from tests.process.test_status import status
from tests.support.processes import ROOT, TIMEOUT, Process, free_port, listening, needed, rtunnel, wait_until
from tests.support.services import EchoService, NamedService


class VisitorTests(TestCase):
    """A server with one private rule for many names, a client that serves all of them, and a visitor with a file."""

    timeout = 120
    environment: ClassVar[dict[str, str]] = {}

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.listen, self.one, self.two, self.admin, self.server_admin = (free_port() for _ in range(5))
        self.tunnel = str(uuid4())
        self.service = self.make_service()
        self.addCleanup(self.service.stop)
        self.server = self.start(
            *("server", "--listen", f"127.0.0.1:{self.listen}", "--entrypoint", f"127.0.0.1:{free_port()}"),
            *("--route", f"*.svc=${self.tunnel}", "--admin", f"127.0.0.1:{self.server_admin}"),
            *("--access-log", str(self.folder / "access.log"), "--access-log-format", "json", *self.guarded()),
        )
        self.server.wait_for("tunnel listener")
        self.client = self.start(
            *("client", "--server", f"127.0.0.1:{self.listen}", "--tunnel", self.tunnel),
            *("--target", f"127.0.0.1:{self.service.port}"),
        )
        self.client.wait_for("joined tunnel")
        self.visitor = self.start("visitor", "-c", self.write({self.one: "one.svc"}))
        self.visitor.wait_for("leads to one.svc")

    def make_service(self) -> EchoService | NamedService:
        return EchoService()

    def guarded(self) -> tuple[str, ...]:
        """Options of the server that say who is let in."""
        return ()

    def start(self, *words: str) -> Process:
        process = rtunnel(*words, env=self.environment)
        self.addCleanup(process.stop)
        return process

    def write(self, ports: dict[int, str]) -> str:
        """The visitor's file: which port leads where."""
        path = self.folder / "visitor.yaml"
        visitors = "".join(f"  - {{listen: '127.0.0.1:{port}', to: '{to}'}}\n" for port, to in ports.items())
        path.write_text(
            f"server: 127.0.0.1:{self.listen}\ntunnel: {self.tunnel}\nadmin: 127.0.0.1:{self.admin}\nvisitors:\n{visitors}"
        )
        return str(path)

    def reload(self, ports: dict[int, str], says: str = "reloaded:") -> str:
        """Have the visitor read its file again; what it says to that."""
        self.write(ports)
        count = self.visitor.output.count(says)
        self.visitor.send(signal.SIGHUP)
        self.visitor.wait_for(says, count + 1)
        return next(line for line in reversed(self.visitor.output.splitlines()) if says in line)

    def visit(self, port: int) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT)
        self.addCleanup(connection.close)
        return connection

    def echoes(self, connection: socket.socket, word: bytes) -> None:
        connection.sendall(word)
        answer = b""
        while len(answer) < len(word):
            data = connection.recv(len(word) - len(answer))
            self.assertNotEqual(data, b"")
            answer += data
        self.assertEqual(answer, word)

    def lines(self) -> list[dict[str, Any]]:
        """What the server's access log holds."""
        path = self.folder / "access.log"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def visited(self, *hosts: str) -> list[dict[str, Any]]:
        """The lines of all visits so far, which ended in this order."""
        wait_until(lambda: len(self.lines()) == len(hosts), f"{len(hosts)} lines in the access log")
        lines = self.lines()
        self.assertEqual([line["host"] for line in lines], list(hosts))
        return lines


class ReloadTests(VisitorTests):
    def test_ports_come_change_and_go(self) -> None:
        """What is open goes on; what comes later does what the file says by then."""
        held = self.visit(self.one)
        self.echoes(held, b"before")
        said = self.reload({self.one: "two.svc", self.two: "db.svc:5432"})
        self.assertIn(f"visitor at 127.0.0.1:{self.two} opened, visitor at 127.0.0.1:{self.one} changed", said)
        self.echoes(held, b"after")
        ended: list[str] = []
        for port, name in ((self.one, "two.svc"), (self.two, "db.svc")):
            with self.visit(port) as connection:
                self.echoes(connection, b"hello")
            ended.append(name)
            self.visited(*ended)
        held.shutdown(socket.SHUT_WR)
        self.assertEqual(held.makefile("rb").read(), b"end after 11")
        lines = self.visited(*ended, "one.svc")
        self.assertEqual((lines[2]["received_bytes"], lines[2]["sent_bytes"], lines[2]["outcome"]), (11, 23, "done"))

        self.assertIn(f"visitor at 127.0.0.1:{self.one} closed", self.reload({self.two: "db.svc:5432"}))
        wait_until(lambda: not listening(self.one), "the port is closed")
        with self.visit(self.two) as connection:
            self.echoes(connection, b"hello")

    def test_nothing_changed(self) -> None:
        self.assertIn("reloaded: nothing changed", self.reload({self.one: "one.svc"}))

    def test_port_that_is_taken(self) -> None:
        """Then nothing changes, also not at the other ports."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            said = self.reload({self.one: "two.svc", self.two: "two.svc", port: "two.svc"}, "not reloaded, nothing changed: ")
        self.assertIn(f"the visitor cannot listen on 127.0.0.1:{port}: Address already in use", said)
        with self.visit(self.one) as connection:
            self.echoes(connection, b"hello")
        self.visited("one.svc")
        wait_until(lambda: not listening(self.two), "the port that could be had is closed again")


class AnswerTests(VisitorTests):
    """A service that takes its time."""

    def make_service(self) -> NamedService:
        self.slow = NamedService("slow")
        return self.slow

    def test_answer_under_way_when_its_port_goes(self) -> None:
        """Whoever waits for an answer gets it."""
        held = self.visit(self.one)
        held.sendall(b"GET /wait HTTP/1.1\r\nHost: one.svc\r\nConnection: close\r\n\r\n")
        wait_until(lambda: self.slow.requests, "the service is asked")
        self.assertIn(f"visitor at 127.0.0.1:{self.one} closed", self.reload({self.two: "two.svc"}))
        wait_until(lambda: not listening(self.one), "the port is closed")
        self.slow.go.set()
        answer = held.makefile("rb").read()
        self.assertTrue(answer.startswith(b"HTTP/1.1 200 ") and answer.endswith(b"slow"), answer)


class SeenTests(VisitorTests):
    """What the server and the visitor say of a visit."""

    def document(self, admin: int) -> Any:
        asked = status(admin, "--json")
        self.assertEqual((asked.returncode, asked.stderr), (0, ""))
        return json.loads(asked.stdout)

    def test_status_and_access_log(self) -> None:
        held = self.visit(self.one)
        self.echoes(held, b"hello")
        document = self.document(self.admin)
        self.assertEqual(document["process"]["role"], "visitor")
        self.assertEqual(
            document["ports"],
            [
                {
                    "address": f"127.0.0.1:{self.one}",
                    "to": "one.svc",
                    "tunnel": self.tunnel[:8],
                    "server": f"127.0.0.1:{self.listen}",
                    "connections": 1,
                }
            ],
        )
        table = status(self.admin).stdout
        self.assertIn("local ports", table)
        self.assertNotIn("connectors", table)
        (connector,) = self.document(self.server_admin)["connectors"]
        self.assertEqual((connector["streams"], connector["requests"]), (1, 0))
        self.assertEqual(self.lines(), [])

        held.shutdown(socket.SHUT_WR)
        self.assertEqual(held.makefile("rb").read(), b"end after 5")
        (line,) = self.visited("one.svc")
        self.assertEqual((line["kind"], line["visitor"], line["outcome"]), ("relay", "127.0.0.1", "done"))
        self.assertEqual((line["tunnel"], line["connector"]), (self.tunnel[:8], connector["id"]))
        self.assertEqual((line["received_bytes"], line["sent_bytes"]), (5, 16))
        (connector,) = self.document(self.server_admin)["connectors"]
        self.assertEqual((connector["streams"], connector["requests"]), (0, 1))
        self.assertEqual(self.document(self.admin)["ports"][0]["connections"], 0)

    def test_refused(self) -> None:
        """A name without a rule is a line as well, and the local program sees an error."""
        self.reload({self.one: "elsewhere.local"})
        self.assertRaises(ConnectionResetError, self.visit(self.one).recv, 1)
        (line,) = self.visited("elsewhere.local")
        self.assertEqual((line["kind"], line["outcome"], line["connector"]), ("relay", "wrong_tunnel", None))


class RightsTests(VisitorTests):
    """A server that asks who visits, and whose permissions say what."""

    environment: ClassVar[dict[str, str]] = {"RTUNNEL_AUTH": "alice:swordfish"}

    def guarded(self) -> tuple[str, ...]:
        self.permissions = self.folder / "permissions"
        self.allow("one.svc")
        return "--permissions", str(self.permissions)

    def allow(self, host: str) -> None:
        """Have alice visit nothing else."""
        new = self.folder / "permissions.new"
        new.write_text(f"bind alice {self.tunnel}\nvisit alice {host}\n")
        new.replace(self.permissions)

    def test_rights_come_and_go(self) -> None:
        """Who may not visit is told so; whoever no longer may is cut, while others go on."""
        held = self.visit(self.one)
        self.echoes(held, b"hello")
        self.reload({self.one: "one.svc", self.two: "two.svc"})
        self.assertRaises(ConnectionResetError, self.visit(self.two).recv, 1)
        self.visitor.wait_for(
            "the server refused: forbidden (status 3); its permissions do not allow the user alice to visit the tunnel"
        )
        (line,) = self.visited("two.svc")
        self.assertEqual((line["outcome"], line["user"]), ("forbidden", "alice"))

        self.allow("two.svc")
        with contextlib.suppress(ConnectionResetError):
            self.assertEqual(held.recv(1), b"")
        self.server.wait_for("the permissions no longer allow the user to visit it")
        with self.visit(self.two) as connection:
            self.echoes(connection, b"hello")
        lines = self.visited("two.svc", "one.svc", "two.svc")
        self.assertEqual([line["outcome"] for line in lines][:2], ["forbidden", "forbidden"])
        self.assertEqual(self.client.output.count("joined tunnel"), 1)

    def test_wrong_password(self) -> None:
        self.visitor.stop()
        visitor = rtunnel("visitor", "-c", self.write({self.one: "one.svc"}), env={"RTUNNEL_AUTH": "alice:herring"})
        self.addCleanup(visitor.stop)
        visitor.wait_for("leads to one.svc")
        self.assertRaises(ConnectionResetError, self.visit(self.one).recv, 1)
        visitor.wait_for("the server refused: unauthorized (status 2); it does not know the user alice with this password")
        self.server.wait_for("(user alice): wrong user or password")
        for process in (visitor, self.server):
            self.assertNotIn("herring", process.output)


class PageTests(TestCase):
    """The commands of docs/private-tcp.md, as they stand but for ports that may be taken."""

    timeout = 120
    signs = {"server": "tunnel listener", "client": "joined tunnel", "visitor": "leads to"}

    def setUp(self) -> None:
        needed("curl")
        self.service = NamedService("files")
        self.addCleanup(self.service.stop)
        self.roles: dict[str, Process] = {}
        self.port = free_port()
        self.ports = {"8000": self.service.port, "8022": self.port}
        self.ports |= {port: free_port() for port in ("8421", "2222", "5432")}

    def commands(self) -> list[str]:
        page = (ROOT / "docs" / "private-tcp.md").read_text(encoding="utf-8").replace("\\\n", "")
        return re.findall(r"^    ((?:rtunnel|curl) .*)$", page, re.MULTILINE)

    def replace(self, command: str) -> str:
        command = re.sub(rf":({'|'.join(self.ports)})\b", lambda port: f":{self.ports[port[1]]}", command)
        return command.replace("rtunnel ", f"exec {sys.executable} -m rtunnel ", 1)

    def test_page(self) -> None:
        commands = self.commands()
        self.assertEqual([command.split()[1] for command in commands].count("visitor"), 3)
        for command in commands:
            self.run_command(command)
            if command.startswith("rtunnel visitor") and "files.svc" in command:
                self.assertEqual(self.files(), "files")

    def run_command(self, command: str) -> None:
        program, role, *_ = command.split()
        if program == "curl":
            argv = ["bash", "-c", self.replace(command)]
            self.assertEqual(subprocess.run(argv, capture_output=True, text=True, check=True).stdout, "files")
            return
        if role in self.roles:
            self.roles[role].stop()
        process = self.roles[role] = Process(["bash", "-c", self.replace(command)])
        self.addCleanup(process.stop)
        process.wait_for(self.signs[role], command.count("--to ") or 1)

    def files(self) -> str:
        url = f"http://127.0.0.1:{self.port}/"
        return subprocess.run(["curl", "-s", url], capture_output=True, text=True, check=True).stdout
