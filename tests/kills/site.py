"""A server and a client in folders of their own, which are killed and started again, and what must be true of them."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from uuid import uuid4

from tests.support.load import Load
from tests.support.processes import Process, free_port, wait_until
from tests.support.services import NamedService

__all__ = ["DOING", "Part", "Site"]

HOST = "pod.local"
DOING = {"reload": signal.SIGHUP, "drain": signal.SIGTERM}
"""What a process does when it is killed, and the signal that it begins with."""
CONFIG, PIDFILE, ACCESS_LOG = "config.yaml", "twistd.pid", "access.log"


class Part:
    """The server or the client, under twistd, which keeps a file with its PID.

    :param folder: where it runs, and where all of its files are.
    """

    def __init__(self, command: str, folder: Path) -> None:
        self.command = command
        self.folder = folder
        folder.mkdir()
        self._process: Process | None = None

    def configure(self, settings: object) -> None:
        """Write its configuration; JSON is YAML."""
        (self.folder / CONFIG).write_text(json.dumps(settings))

    def start(self) -> None:
        """Start it."""
        twistd = Path(sys.executable).with_name("twistd")
        options = ["--nodaemon", f"--pidfile={PIDFILE}", "--logger=rtunnel.ops.logs.human"]
        argv = [sys.executable, str(twistd), *options, "rtunnel", self.command, f"--config={CONFIG}"]
        self._process = Process(argv, cwd=str(self.folder))

    def send(self, number: signal.Signals) -> None:
        """Send a signal; it may have ended already."""
        assert self._process is not None
        self._process.send(number)

    def kill(self) -> None:
        """Kill it, and keep nothing of it."""
        assert self._process is not None
        self._process.send(signal.SIGKILL)
        self._process.wait()
        self._process.stop()

    @property
    def pid(self) -> int:
        """Of the process that runs now."""
        assert self._process is not None
        return self._process.pid

    @property
    def output(self) -> str:
        """What it has printed since its last start."""
        return self._process.output if self._process is not None else ""

    def clean(self) -> None:
        """It runs, and nothing lies about that it does not need.

        :raises AssertionError: with what is wrong.
        """
        pid = (self.folder / PIDFILE).read_text()
        assert pid == str(self.pid), f"the file with the PID says {pid}, and the process is {self.pid}"
        names = {path.name for path in self.folder.iterdir()}
        assert names <= {CONFIG, PIDFILE, ACCESS_LOG}, f"there are more files: {names}"
        assert "Traceback" not in self.output, self.output
        log = self.folder / ACCESS_LOG
        for line in log.read_text().splitlines() if log.exists() else ():
            json.loads(line)


class Site:
    """Server, client and the service behind it, with some visitors all the time.

    :param folder: an empty one.
    """

    def __init__(self, folder: Path) -> None:
        self._tunnel = str(uuid4())
        self._listen, self.entrypoint, self._second = free_port(), free_port(), free_port()
        self._changed = False
        self._target = NamedService("pod")
        self.server, self.client = Part("server", folder / "server"), Part("client", folder / "client")

    @contextmanager
    def running(self) -> Iterator[Site]:
        """Start everything; end it after."""
        self.configure()
        for part in (self.server, self.client):
            part.start()
        try:
            self.check()
            with Load(self.entrypoint, HOST, rate=40.0, visitors=4):
                yield self
        finally:
            for part in (self.server, self.client):
                part.kill()
            self._target.stop()

    def configure(self) -> None:
        """Write other configurations than before, so that a reload has something to do in both."""
        self._changed = not self._changed
        entrypoints = [f"127.0.0.1:{self.entrypoint}", *([f"127.0.0.1:{self._second}"] if self._changed else [])]
        self.server.configure(
            {
                "access-log": {"file": ACCESS_LOG, "format": "json"},
                "listeners": [
                    {"listen": f"ws://127.0.0.1:{self._listen}/ws", "entrypoints": entrypoints, "routes": {HOST: self._tunnel}}
                ],
            }
        )
        self.client.configure(
            {
                "server": f"ws://127.0.0.1:{self._listen}/ws",
                "tunnel": self._tunnel,
                "target": f"127.0.0.1:{self._target.port}",
                "weight": 1 + self._changed,
                "backoff-max": 1,
            }
        )

    def check(self) -> None:
        """Requests are answered again, and both parts are clean.

        :raises AssertionError: with what is wrong.
        """
        try:
            wait_until(self._answers, "a request is answered", 60)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.server.output}\n{self.client.output}") from None
        for part in (self.server, self.client):
            part.clean()

    def _answers(self) -> bool:
        connection = HTTPConnection("127.0.0.1", self.entrypoint, timeout=20)
        try:
            connection.request("GET", "/", headers={"Host": HOST})
            return connection.getresponse().read() == b"pod"
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()
