"""A supervisor in namespaces, with real ones: names, files, a network; each step that fails says which it was."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path
from unittest import SkipTest

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from rtunnel.running.supervising import Supervising, SupervisorError
from tests.support.processes import free_port

ENVIRON = {"PATH": os.environ["PATH"]}


class _Case(TestCase):
    timeout = 60

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()

    def supervisor(self) -> Supervising:
        supervising = Supervising(reactor)
        supervising.start()
        self.addCleanup(supervising.close)
        return supervising

    async def isolated(self, *, network: bool = False) -> Supervising:
        supervising = self.supervisor()
        try:
            await supervising.isolate(network=network)
        except SupervisorError as error:
            raise SkipTest(f"namespaces are not allowed here: {error}") from None
        return supervising

    def file(self, name: str, text: str = "of the pod") -> str:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return str(path)

    async def prints(self, supervising: Supervising, script: str) -> str:
        """What a script prints."""
        output = self.folder / "output"
        status = await supervising.run(("sh", "-c", f"({script}) >{output} 2>&1"), ENVIRON)
        return f"{output.read_text()}{status or ''}"


class MountTests(_Case):
    async def test_where_something_is(self) -> None:
        """It is covered for the command, and for nobody else."""
        there = self.file("there/file", "of the machine")
        source = self.file("source/file")
        supervising = await self.isolated()
        mounts = self.folder / "mounts"
        mounts.mkdir()
        await supervising.mount([(source, there)], mounts)
        self.assertEqual(await self.prints(supervising, f"cat {there}"), "of the pod")
        self.assertEqual(Path(there).read_text(), "of the machine")

    async def test_where_nothing_is(self) -> None:
        """At the root, where nobody may write, and two folders below; all else is there as before."""
        source = str(Path(self.file("source/app.yaml")).parent)
        supervising = await self.isolated()
        mounts = self.folder / "mounts"
        mounts.mkdir()
        deep = "/var/run/rtunnel-test/deep/er"
        await supervising.mount([(source, "/rtunnel-test"), (source, deep), (source, "/rtunnel-other/x")], mounts)
        script = f"cat /rtunnel-test/app.yaml {deep}/app.yaml /rtunnel-other/x/app.yaml; pwd; ls -d /proc/self /run /usr/bin"
        expected = f"{'of the pod' * 3}{os.getcwd()}\n/proc/self\n/run\n/usr/bin\n"
        self.assertEqual(await self.prints(supervising, script), expected)
        before = set(os.listdir("/")) | {"rtunnel-test", "rtunnel-other"}
        self.assertEqual(set((await self.prints(supervising, "ls -A /")).split()), before)
        self.assertFalse(Path("/rtunnel-test").exists() or Path("/rtunnel-other").exists() or Path(deep).exists())

    async def test_updates(self) -> None:
        """What is written to the folder later is there."""
        source = Path(self.file("source/app.yaml")).parent
        supervising = await self.isolated()
        mounts = self.folder / "mounts"
        mounts.mkdir()
        await supervising.mount([(str(source), "/rtunnel-test")], mounts)
        self.file("source/new.yaml", "new")
        self.assertEqual(await self.prints(supervising, "cat /rtunnel-test/new.yaml"), "new")

    async def test_failure(self) -> None:
        supervising = await self.isolated()
        error = await self.assertFailure(supervising.mount([("/no/such/file", "/etc/hosts")], self.folder), SupervisorError)
        self.assertEqual((error.step, error.errno), ("mount --rbind at /etc/hosts", errno.ENOENT))


class NetworkTests(_Case):
    async def test_listeners_within(self) -> None:
        """A port that everybody else has in use, or may not use, is free there; who connects is accepted here."""
        supervising = await self.isolated(network=True)
        descriptor = await supervising.listen("127.77.0.5", 80)
        with socket.socket(fileno=descriptor) as listening:
            script = "import socket; s = socket.create_connection(('127.77.0.5', 80)); s.sendall(b'hello'); s.recv(9)"
            ended = supervising.run(("python3", "-c", script), ENVIRON)
            listening.settimeout(20)
            connection, _ = listening.accept()
            with connection:
                self.assertEqual(connection.recv(5), b"hello")
            self.assertEqual(await ended, 0)
        with socket.socket() as probe:
            self.assertNotEqual(probe.connect_ex(("127.77.0.5", 80)), 0)
        error = await self.assertFailure(supervising.listen("192.0.2.1", 80), SupervisorError)
        self.assertEqual(error.errno, errno.EADDRNOTAVAIL)

    async def test_connections_within(self) -> None:
        supervising = await self.isolated(network=True)
        port = free_port()
        error = await self.assertFailure(supervising.connect("127.0.0.1", port), SupervisorError)
        self.assertEqual(error.errno, errno.ECONNREFUSED)
        for host in ("127.0.0.1", "::1"):
            descriptor = await supervising.listen(host, port)
            connected = await supervising.connect(host, port)
            with socket.socket(fileno=descriptor) as listening, socket.socket(fileno=connected) as connection:
                accepted, _ = listening.accept()
                with accepted:
                    connection.settimeout(20)
                    accepted.sendall(b"hello")
                    self.assertEqual(connection.recv(5), b"hello")

    async def test_nothing_else_is_there(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as outside:
            port = outside.getsockname()[1]
            supervising = await self.isolated(network=True)
            error = await self.assertFailure(supervising.connect("127.0.0.1", port), SupervisorError)
            self.assertEqual(error.errno, errno.ECONNREFUSED)


class LifeTests(_Case):
    async def test_several_commands(self) -> None:
        supervising = self.supervisor()
        for status in (0, 3):
            self.assertEqual(await supervising.run(("sh", "-c", f"exit {status}"), ENVIRON), status)
        error = await self.assertFailure(supervising.run(("no-such-program",), ENVIRON), SupervisorError)
        self.assertEqual(str(error), "command not found: No such file or directory")
        self.assertEqual(await supervising.run(("true",), ENVIRON), 0)

    async def test_large_environment(self) -> None:
        value = "x" * 100_000 + "\udcff"
        environ = {**ENVIRON, **{f"V{number}": value for number in range(5)}}
        script = "import os, sys; sys.exit(len(os.environ['V4'].encode('utf-8', 'surrogateescape')) != 100_001)"
        self.assertEqual(await self.supervisor().run(("python3", "-c", script), environ), 0)

    async def test_closed(self) -> None:
        """What was asked for and not answered fails; a command that runs is ended."""
        supervising = self.supervisor()
        ended = supervising.run(("sleep", "100"), ENVIRON)
        await supervising.close()
        self.assertEqual(await ended, 0)
        error = await self.assertFailure(supervising.isolate(network=False), SupervisorError)
        self.assertIn("has ended", str(error))
