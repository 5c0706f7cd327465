"""The admin socket, over real sockets: where it is, who may ask, what is left of dead processes."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from twisted.internet import reactor
from twisted.internet.endpoints import UNIXClientEndpoint, connectProtocol
from twisted.trial.unittest import SynchronousTestCase, TestCase

from rtunnel.ops import admin_places, admin_socket
from rtunnel.ops.admin_answers import AdminAnswers
from rtunnel.ops.admin_places import AdminSocketError, directories, find_places, make_place
from rtunnel.ops.admin_socket import MOST, AdminSocket
from tests.ops.test_admin import Conversation
from tests.support.logs import logged

ASK = b"GET /status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
NOBODY = 2**22 + 1
"""No process has this ID: the kernel's limit is below."""


def dead(directory: Path, pid: int) -> Path:
    """A socket that nobody listens at any more."""
    path = directory / f"client-{pid}.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    return path


class PlacesTests(SynchronousTestCase):
    def setUp(self) -> None:
        # short: a path of a socket has 107 bytes
        holder = TemporaryDirectory(prefix="rt-")
        self.addCleanup(holder.cleanup)
        self.home = Path(holder.name)
        self.session = self.home / "session"
        self.session.mkdir(mode=0o700)
        self.patch(admin_places, "SYSTEM", self.home / "run" / "rtunnel")
        self.environ = {"XDG_RUNTIME_DIR": str(self.session), "HOME": str(self.home)}

    def test_order(self) -> None:
        """That of the unit, of the session, of the system, of the user."""
        found = directories({**self.environ, "RUNTIME_DIRECTORY": "/run/unit:/run/other"})
        names = [Path("/run/unit"), self.session / "rtunnel", self.home / "run/rtunnel/root", self.home / ".local/state/rtunnel"]
        self.assertEqual(found, names)

    def test_made_for_us_alone(self) -> None:
        place = make_place("client", self.environ)
        self.assertEqual(place.path, str(self.session / "rtunnel" / f"client-{os.getpid()}.sock"))
        self.assertEqual(stat.S_IMODE((self.session / "rtunnel").stat().st_mode), 0o700)

    def test_without_a_session(self) -> None:
        """Parents are made, too."""
        place = make_place("server", {"HOME": str(self.home)})
        self.assertEqual(place.path, str(self.home / ".local/state/rtunnel" / f"server-{os.getpid()}.sock"))

    def test_a_directory_of_all(self) -> None:
        """Where others could put a socket of theirs, or a link: the next one is taken."""
        (self.session / "rtunnel").mkdir()
        (self.session / "rtunnel").chmod(0o777)
        self.assertIn(".local/state", make_place("client", self.environ).path)

    def test_a_link(self) -> None:
        (self.session / "rtunnel").symlink_to(self.home)
        self.assertIn(".local/state", make_place("client", self.environ).path)

    def test_nowhere(self) -> None:
        (self.home / "file").touch()
        environ = {"XDG_RUNTIME_DIR": str(self.home / "file" / "x"), "HOME": str(self.home / "file")}
        error = self.assertRaises(AdminSocketError, make_place, "client", environ)
        self.assertIn(f"{self.home / 'file' / 'x' / 'rtunnel'}: Not a directory", str(error))

    def test_too_long(self) -> None:
        long = self.session / ("x" * 100)
        long.mkdir(mode=0o700)
        error = self.assertRaises(AdminSocketError, make_place, "client", {"XDG_RUNTIME_DIR": str(long), "HOME": str(long)})
        self.assertIn("its path is too long for a socket", str(error))

    def test_no_unix_sockets(self) -> None:
        self.patch(admin_places, "socket", object())
        self.assertIn("no unix sockets", str(self.assertRaises(AdminSocketError, make_place, "client", self.environ)))

    def test_dead_ones_are_removed(self) -> None:
        """Those of processes that are gone; one of a living process may be about to listen."""
        directory = Path(make_place("client", self.environ).path).parent
        gone, ours, living = dead(directory, NOBODY), dead(directory, os.getpid()), dead(directory, os.getppid())
        (directory / "notes.txt").touch()
        make_place("server", self.environ)
        self.assertEqual((gone.exists(), ours.exists(), living.exists()), (False, False, True))
        self.assertTrue((directory / "notes.txt").exists())

    def test_found(self) -> None:
        """Those that listen, also in the directories of units."""
        directory = Path(make_place("client", self.environ).path).parent
        dead(directory, os.getppid())
        unit = self.home / "run" / "rtunnel" / "pod"
        unit.mkdir(parents=True)
        with _listening(directory / "client-12.sock"), _listening(unit / "server-7.sock"):
            found = find_places(self.environ)
        self.assertEqual([(place.role, place.pid) for place in found], [("client", 12), ("server", 7)])
        self.assertEqual(find_places(self.environ), [])


@contextmanager
def _listening(path: Path) -> Iterator[None]:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        yield


class SocketTests(TestCase):
    def setUp(self) -> None:
        holder = TemporaryDirectory(prefix="rt-")
        self.addCleanup(holder.cleanup)
        self.environ = {"XDG_RUNTIME_DIR": holder.name, "HOME": holder.name}
        self.answers = AdminAnswers(ready=lambda: True, metrics=lambda: b"", status=lambda: b"{}\n")
        self.service = AdminSocket("client", self.answers, self.environ, reactor)

    async def start(self) -> str:
        self.service.startService()
        self.addCleanup(self.service.stopService)
        assert self.service.path is not None
        return self.service.path

    async def ask(self, path: str) -> bytes:
        conversation: Conversation = await connectProtocol(UNIXClientEndpoint(reactor, path), Conversation(ASK))
        return await conversation.over

    async def test_answers(self) -> None:
        path = await self.start()
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o600)
        answer = await self.ask(path)
        self.assertTrue(answer.startswith(b"HTTP/1.1 200 ") and answer.endswith(b"{}\n"), answer)

    async def test_gone_at_the_end(self) -> None:
        self.service.startService()
        path = self.service.path
        assert path is not None
        await self.service.stopService()
        self.assertFalse(os.path.exists(path))

    async def test_another_user(self) -> None:
        """Who gets past the directory, as the owner of a copied descriptor might, is refused; root is not."""
        path = await self.start()
        for user, answered in ((os.geteuid() + 1, False), (0, True), (os.geteuid(), True), (None, True)):
            self.patch(admin_socket, "_user_of", lambda connection, user=user: user)
            with logged() as lines:
                self.assertEqual(bool(await self.ask(path)), answered, user)
            self.assertEqual(any("may not ask this process" in line for line in lines), not answered)

    async def test_who_it_is(self) -> None:
        """As the system tells."""
        ours, theirs = socket.socketpair()
        self.addCleanup(ours.close)
        self.addCleanup(theirs.close)
        self.assertIn(admin_socket._user_of(ours), (os.geteuid(), None))

    async def test_many(self) -> None:
        """More than some are closed at once."""
        path = await self.start()
        held = [await connectProtocol(UNIXClientEndpoint(reactor, path), Conversation(b"")) for _ in range(MOST)]
        self.assertEqual(await self.ask(path), b"")
        held[0].transport.loseConnection()
        await held[0].over
        for one in held[1:]:
            one.transport.loseConnection()
            await one.over

    async def test_without_a_place(self) -> None:
        """The process starts; the log has one line."""
        environ = {"XDG_RUNTIME_DIR": "/dev/null/x", "XDG_STATE_HOME": "/dev/null/y", "HOME": "/dev/null"}
        service = AdminSocket("client", self.answers, environ, reactor)
        self.patch(admin_places, "SYSTEM", Path("/dev/null/z"))
        with logged() as lines:
            service.startService()
        self.assertIsNone(service.path)
        (line,) = lines
        for word in ('"rtunnel status" cannot ask this process', "/dev/null/x/rtunnel: Not a directory", "--no-admin-socket"):
            self.assertIn(word, line)
        await service.stopService()
