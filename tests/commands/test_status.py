"""``rtunnel status``, with answers from the tests."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any

from rtunnel.cli import admin
from rtunnel.ops import admin_places
from rtunnel.ops.recent import RecentErrors
from rtunnel.ops.status import ProcessStatus, ServiceStatus
from tests.commands.harness import CommandTestCase
from tests.ops.test_status import FULL, Service


def document(status: ServiceStatus = FULL, *, ready: bool = True) -> dict[str, Any]:
    """The status of a process."""
    service = Service(status)
    service.ready = ready
    return ProcessStatus(service, RecentErrors()).document()


@contextmanager
def answering(answer: bytes) -> Iterator[str]:
    """An address where one connection is accepted, read once and answered."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            connection = server.accept()[0]
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

        thread = Thread(target=accept)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        thread.join()


def http(body: bytes, status: str = "200 OK") -> bytes:
    return b"HTTP/1.1 %b\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b" % (status.encode(), len(body), body)


class AnswerTests(CommandTestCase):
    def test_json(self) -> None:
        with answering(http(json.dumps(document()).encode())) as address:
            status, output, errors = self.run_command("status", "--admin", address, "--json")
        self.assertEqual((status, errors), (0, ""))
        self.assertEqual(json.loads(output)["connectors"][0]["peer"], "192.0.2.1:5")

    def test_table(self) -> None:
        with answering(http(json.dumps(document()).encode())) as address:
            status, output, errors = self.run_command("status", "--admin", address)
        self.assertEqual((status, errors), (0, ""))
        for word in ("server: ready", "*:8421", "http, tls", "*.pod.local", "10bc451e", "192.0.2.1:5", "250.0 ms"):
            self.assertIn(word, output)

    def test_not_ready(self) -> None:
        for words in ((), ("--json",)):
            with answering(http(json.dumps(document(ready=False)).encode())) as address:
                self.assertEqual(self.run_command("status", "--admin", address, *words)[0], 2)

    def test_from_the_environment(self) -> None:
        """The variable of the server, whose address may be every interface."""
        with answering(http(json.dumps(document()).encode())) as address:
            os.environ["RTUNNEL_ADMIN"] = address.replace("127.0.0.1", "0.0.0.0")
            self.assertEqual(self.run_command("status")[0], 0)


class SocketTests(CommandTestCase):
    """Without an address: the sockets of the processes that run here."""

    def setUp(self) -> None:
        super().setUp()
        holder = TemporaryDirectory(prefix="rt-")
        self.addCleanup(holder.cleanup)
        self.patch(admin_places, "SYSTEM", Path(holder.name, "run"))
        os.environ.update({"XDG_RUNTIME_DIR": holder.name, "HOME": holder.name})
        self.directory = Path(holder.name, "rtunnel")
        self.directory.mkdir()

    @contextmanager
    def running(self, name: str, status: ServiceStatus = FULL) -> Iterator[None]:
        """A process with a socket, which answers until it is told to end."""
        path = str(self.directory / f"{name}.sock")
        answer = http(json.dumps(document(status)).encode())
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(path)
            listening.listen()

            def serve() -> None:
                while True:
                    connection = listening.accept()[0]
                    with connection:
                        asked = connection.recv(65536)
                        if asked == b"end":
                            return
                        if asked:
                            connection.sendall(answer)

            thread = Thread(target=serve)
            thread.start()
            try:
                yield
            finally:
                with socket.socket(socket.AF_UNIX) as last:
                    last.connect(path)
                    last.sendall(b"end")
                thread.join()

    def test_the_only_one(self) -> None:
        with self.running("server-12"):
            for words in ((), ("server",), ("12",)):
                status, output, errors = self.run_command("status", *words)
                self.assertEqual((status, errors), (0, ""))
                self.assertIn("server: ready", output)

    def test_several(self) -> None:
        """Each with its process ID and what it is for."""
        with self.running("server-12"), self.running("visitor-13", ServiceStatus(role="visitor", ports=FULL.ports)):
            status, output, errors = self.run_command("status")
            self.assertEqual((status, output), (1, ""))
            lines = errors.splitlines()
            self.assertEqual(lines[0], "rtunnel status: 2 processes run here; say which, by its process ID:")
            self.assertEqual(lines[1].split(maxsplit=2), ["12", "server", "*.pod.local"])
            self.assertEqual(lines[2].split()[:2], ["13", "visitor"])
            self.assertEqual(self.run_command("status", "13")[0], 0)
            status, _, errors = self.run_command("status", "client")
            self.assertEqual((status, errors.splitlines()[0]), (1, 'rtunnel status: no process here is "client"; there are:'))


class RefusalTests(CommandTestCase):
    """No status: one line on stderr that says what to do, exit status 1."""

    def assert_refused(self, words: str, *arguments: str) -> None:
        status, output, errors = self.run_command("status", *arguments)
        self.assertEqual((status, output, errors.count("\n")), (1, "", 1), errors)
        self.assertIn(words, errors)

    def test_nothing_listens(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        self.assert_refused(
            f"rtunnel status: nothing listens on 127.0.0.1:{port}; start the server or client with --admin 127.0.0.1:{port}",
            "--admin",
            f"127.0.0.1:{port}",
        )

    def test_another_server(self) -> None:
        with answering(http(b"not here", "404 Not Found")) as address:
            self.assert_refused("answered with status 404; is this the admin address", "--admin", address)

    def test_no_status(self) -> None:
        for body in (b"<html>", b"[]", b"{}", b"\xff", b"null", b""):
            with answering(http(body)) as address:
                self.assert_refused("is this the admin address of an rtunnel?", "--admin", address)

    def test_no_http(self) -> None:
        for answer in (b"SSH-2.0-x\r\n", b"\x1b[31m\r\n", b""):
            with answering(answer) as address:
                status, _, errors = self.run_command("status", "--admin", address)
                self.assertEqual((status, errors.count("\n")), (1, 1), errors)
                self.assertIn("cannot get http://", errors)
                self.assertNotIn("\x1b", errors)

    def test_another_version(self) -> None:
        with answering(http(json.dumps(document() | {"status_version": 2}).encode())) as address:
            self.assert_refused("has version 2, but this rtunnel reads version 1", "--admin", address)

    def test_silence(self) -> None:
        self.patch(admin, "TIMEOUT", 0.05)
        with socket.create_server(("127.0.0.1", 0)) as server:
            self.assert_refused("within 0.05 s", "--admin", f"127.0.0.1:{server.getsockname()[1]}")

    def test_arguments(self) -> None:
        self.assert_refused('--admin: "80": no colon; write ":80"', "--admin", "80")
        self.assert_refused("see rtunnel status --help", "--nonsense")
        self.assert_refused('"now" is none; write server, client, visitor or a process ID', "now")
        self.assert_refused("one of them says which process to ask", "--admin", ":80", "client")

    def test_the_usual_port(self) -> None:
        """Where no socket is found, as in a container whose file system is read-only."""
        with socket.create_server(("127.0.0.1", 0)) as server:

            def accept() -> None:
                # the first one only looks whether somebody is there
                server.accept()[0].close()
                connection = server.accept()[0]
                with connection:
                    connection.recv(65536)
                    connection.sendall(http(json.dumps(document()).encode()))

            thread = Thread(target=accept)
            thread.start()
            self.patch(admin, "DEFAULT_ADDRESS", f"127.0.0.1:{server.getsockname()[1]}")
            self.patch(admin, "find_places", lambda environ: [])
            status, output, errors = self.run_command("status")
            thread.join()
        self.assertEqual((status, errors), (0, ""))
        self.assertIn("server: ready", output)

    def test_nothing_runs(self) -> None:
        # not those that may run on the machine of the tests
        self.patch(admin_places, "SYSTEM", Path(self.mktemp()))
        self.patch(admin, "_accepts", lambda address: False)
        self.assert_refused("no rtunnel of this user runs on this machine, as far as the sockets in")
        self.assert_refused("no rtunnel of this user runs on this machine", "4711")

    def test_help(self) -> None:
        status, output, errors = self.run_command("status", "--help")
        self.assertEqual((status, errors), (0, ""))
        self.assertIn("The exit status is 0 when the process is ready", output)
