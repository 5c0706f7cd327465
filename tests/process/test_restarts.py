"""Restarts under load, behind a real nginx that tries no request twice: of a server, and of its clients."""

from __future__ import annotations

import signal
import socket
import sys
import tempfile
from http.client import HTTPConnection
from pathlib import Path
from uuid import uuid4

from twisted.trial.unittest import TestCase
from websockets.exceptions import ConnectionClosedError, ConnectionClosedOK
from websockets.sync.client import ClientConnection, connect

from tests.support.load import Load
from tests.support.processes import LOOPBACK, ROOT, Nginx, Process, free_port, listening, rtunnel, wait_until
from tests.support.services import NamedService

HOST = "pod.local"
STOP_DELAY = 1.5
"""Seconds; the client looks for another server within half a second."""


class Server:
    """One of the servers, at ports that stay the same when it is started again."""

    def __init__(self, tunnel: str) -> None:
        self.tunnel = tunnel
        self.listen, self.entrypoint, self.admin = free_port(), free_port(), free_port()

    def start(self, *options: str, anew: bool = False) -> Process:
        """Start it, and wait until it is ready."""
        process = rtunnel(
            "server",
            f"--listen=127.0.0.1:{self.listen}",
            f"--entrypoint=127.0.0.1:{self.entrypoint}",
            f"--route={HOST}={self.tunnel}",
            f"--admin=127.0.0.1:{self.admin}",
            *options,
            anew=anew,
        )
        process.wait_for("entrypoint on")
        return process

    @property
    def ready(self) -> bool:
        """What /readyz says."""
        connection = HTTPConnection("127.0.0.1", self.admin, timeout=20)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()


def ingress(port: int, joins: int, old: Server, new: Server, folder: Path) -> str:
    """An Ingress for visitors and one for clients, which lead to the servers for which there is a file of their name in a folder.

    Files, and not another configuration: a reload of nginx would close the connections of visitors.
    """
    groups = {"old": (old,), "new": (new,), "both": (old, new)}
    return f"""
    {" ".join(upstream(f"visitors-{name}", *(one.entrypoint for one in servers)) for name, servers in groups.items())}
    {" ".join(upstream(f"clients-{name}", *(one.listen for one in servers)) for name, servers in groups.items())}
    proxy_http_version 1.1;
    proxy_next_upstream off;
    server {{
        listen 127.0.0.1:{port};
        location / {{
            {choice("visitors", folder)}
            proxy_set_header Host $host;
            proxy_set_header Connection "";
        }}
    }}
    server {{
        listen 127.0.0.1:{joins};
        location / {{
            {choice("clients", folder)}
            proxy_set_header Host $host;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection upgrade;
            proxy_read_timeout 3600s;
        }}
    }}
    """


def upstream(name: str, *ports: int) -> str:
    """A group of servers."""
    return f"upstream {name} {{ {' '.join(f'server 127.0.0.1:{port};' for port in ports)} keepalive 16; }}"


def choice(kind: str, folder: Path) -> str:
    """To the group of those that are there."""
    return f"""
            set $group both;
            if (!-f {folder}/new) {{ set $group old; }}
            if (!-f {folder}/old) {{ set $group new; }}
            proxy_pass http://{kind}-$group;"""


class RestartCase(TestCase):
    """A service in the pod, a port of the Ingress for visitors and one for clients."""

    timeout = 120

    def setUp(self) -> None:
        self.tunnel = str(uuid4())
        self.pod = NamedService("pod")
        self.addCleanup(self.pod.stop)
        self.port, self.joins = free_port(), free_port()
        self.old, self.new = Server(self.tunnel), Server(self.tunnel)
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.led_to = Path(folder.name)
        # the workers of nginx may be another user's
        self.led_to.chmod(0o755)
        self.lead_to(self.old)
        nginx = Nginx(ingress(self.port, self.joins, self.old, self.new, self.led_to))
        self.addCleanup(nginx.stop)
        nginx.ready(self.port)

    def lead_to(self, *servers: Server) -> None:
        """Have the Ingress lead to these servers."""
        for name, server in (("old", self.old), ("new", self.new)):
            if server in servers:
                (self.led_to / name).touch()
            else:
                (self.led_to / name).unlink(missing_ok=True)

    def started(self, server: Server, *options: str) -> Process:
        process = server.start(*options)
        self.addCleanup(process.stop)
        return process

    def join(self, port: int, *options: str) -> Process:
        """A client of the tunnel, which joins at a port."""
        client = rtunnel(
            "client",
            f"--server=ws://127.0.0.1:{port}/ws",
            f"--tunnel={self.tunnel}",
            f"--target=127.0.0.1:{self.pod.port}",
            *options,
        )
        self.addCleanup(client.stop)
        client.wait_for("joined tunnel")
        return client

    def more(self, load: Load, count: int) -> None:
        """Wait until so many more requests have ended."""
        before = load.total
        wait_until(lambda: load.total >= before + count, f"{count} more requests")


class ServerRestartTests(RestartCase):
    def test_another_one_takes_over(self) -> None:
        """A new server is started before the old one stops, and has a client: no visitor notices, and the other client moves."""
        leaving = self.started(self.old, f"--stop-delay={STOP_DELAY}")
        client = self.join(self.joins)
        self.started(self.new)
        self.join(self.new.listen)
        with Load(self.port, HOST) as load:
            self.more(load, 50)
            self.lead_to(self.old, self.new)
            self.more(load, 100)
            leaving.send(signal.SIGTERM)
            wait_until(lambda: not self.old.ready, "the old server is not ready")
            self.lead_to(self.new)
            client.wait_for("joined tunnel", 2)
            self.assertEqual(leaving.wait(), 0)
            self.more(load, 100)
        self.assertEqual(load.failed, [])
        self.assertNotIn("warn", client.output)

    def test_no_other_one(self) -> None:
        """One server alone: its client asks again without a word in the log, and is back as soon as the next one runs."""
        server = self.old
        process = self.started(server, f"--stop-delay={STOP_DELAY}")
        client = self.join(server.listen)
        process.send(signal.SIGTERM)
        process.wait_for("the server is stopping")
        connection = HTTPConnection("127.0.0.1", server.entrypoint, timeout=20)
        connection.request("POST", "/", b"x", {"Host": HOST})
        self.assertEqual(connection.getresponse().status, 200)
        connection.close()
        self.assertNotIn("warn", client.output)
        self.assertEqual(process.wait(), 0)
        self.started(server)
        client.wait_for("joined tunnel", 2)


class ClientRestartTests(RestartCase):
    """A tunnel with the clients of a pod and of a laptop."""

    def setUp(self) -> None:
        super().setUp()
        self.started(self.old)
        self.join(self.joins)

    def restart(self, number: signal.Signals, load: Load) -> None:
        """Start a client over and over, and end it under load."""
        for _ in range(2):
            laptop = self.join(self.joins)
            self.more(load, 30)
            laptop.send(number)
            laptop.wait()
            self.more(load, 20)

    def test_terminated(self) -> None:
        with Load(self.port, HOST) as load:
            self.restart(signal.SIGTERM, load)
        self.assertEqual(load.failed, [])

    def test_killed(self) -> None:
        """What can be sent again is; what cannot is at most what each visitor had there."""
        with Load(self.port, HOST) as load:
            self.restart(signal.SIGKILL, load)
        self.assertEqual([how for _when, how in load.failed if how != "POST 502"], [])
        self.assertLessEqual(len(load.failed), 2 * 10)


class WebSocketTests(TestCase):
    """What becomes of a WebSocket when a part of its way stops; the application closes it with 1001 when it is stopped itself."""

    timeout = 120

    def setUp(self) -> None:
        port = free_port()
        self.app = Process([sys.executable, str(ROOT / "tests" / "cluster" / "echo.py"), str(port), "pod"])
        self.addCleanup(self.app.stop)
        wait_until(lambda: listening(port), f"the application listens\n{self.app.output}")
        self.place = Server(str(uuid4()))
        self.server = self.place.start("--drain=1s")
        self.addCleanup(self.server.stop)
        to_server = ("client", f"--server=ws://{LOOPBACK}:{self.place.listen}/ws", f"--tunnel={self.place.tunnel}")
        self.client = rtunnel(*to_server, f"--target={LOOPBACK}:{port}", "--drain=60s")
        self.addCleanup(self.client.stop)
        self.client.wait_for("joined tunnel")

    def visit(self) -> ClientConnection:
        """Open one."""
        plain = socket.create_connection((LOOPBACK, self.place.entrypoint), 20)
        self.addCleanup(plain.close)
        visitor = self.enterContext(connect(f"ws://{HOST}/socket", sock=plain, open_timeout=20))
        self.echo(visitor, "hello")
        return visitor

    def echo(self, visitor: ClientConnection, text: str) -> None:
        """Have something echoed."""
        visitor.send(text)
        self.assertEqual(visitor.recv(20), f"pod {socket.gethostname()} {text}")

    def test_the_application_closes_it(self) -> None:
        """A client that leaves waits for it: the application of a pod is told to stop after its sidecar."""
        visitor = self.visit()
        self.client.send(signal.SIGTERM)
        self.client.wait_for("SIGTERM")
        self.echo(visitor, "still there")
        self.app.send(signal.SIGTERM)
        closed = self.assertRaises(ConnectionClosedOK, visitor.recv, 20)
        assert closed.rcvd is not None
        self.assertEqual((closed.rcvd.code, closed.rcvd.reason), (1001, "the application stops"))
        self.assertEqual((self.client.wait(), self.app.wait()), (0, 0))

    def test_a_server_cuts_it(self) -> None:
        """It is a stream of bytes: there is no close frame that the application did not send."""
        visitor = self.visit()
        self.server.send(signal.SIGTERM)
        closed = self.assertRaises(ConnectionClosedError, visitor.recv, 20)
        self.assertIs(closed.rcvd, None)
