"""``rtunnel dev`` with real processes: requests come here while a command runs, which gets what the pod has."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from functools import cache
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from rtunnel.client.intercepting import default_name
from tests.process.test_users import BACKOFF, HOST, _Case, user_line
from tests.support.processes import TIMEOUT, Process, free_port, listening, rtunnel, run_rtunnel, wait_until
from tests.support.services import NamedService
from tests.support.terminal import OnTerminal

USERS = ("pod", "alice", "bob", "carol")
PERMISSIONS = f"bind pod,alice,bob,carol {HOST}\nenv,reach,files alice,bob {HOST}\n"
COMMAND = 'echo "GREETING=$GREETING LEVEL=$LEVEL SESSION=$RTUNNEL_RUN_SESSION"; read -r status < end; exit "$status"'
"""Ends with the status that it is told by the pipe ``end``."""


@cache
def users() -> str:
    """The users file, whose hashes are costly by design."""
    return "".join(user_line(user, f"secret of {user}") for user in USERS)


class _Developing(_Case):
    """A server with users, and a pod that gives out an environment; the laptop is started by the tests."""

    def setUp(self) -> None:
        super().setUp()
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.laptop = NamedService("laptop")
        self.addCleanup(self.laptop.stop)
        (self.folder / "users").write_text(users())
        (self.folder / "permissions").write_text(PERMISSIONS)
        (self.folder / "app.env").write_text("GREETING=hello\nLEVEL=info\n")
        os.mkfifo(self.folder / "end")
        self.start_server()
        self.pod = self.started(
            rtunnel(
                *("client", "--server", f"127.0.0.1:{self.tunnel_port}", "--tunnel", self.tunnel, "--role", "pod", *BACKOFF),
                *("--target", f"127.0.0.1:{self.service.port}", "--env-source", str(self.folder / "app.env")),
                *("--env-allow-secret", "*", "--name", "the-pod", "--reach", f"localhost:{self.service.port}"),
                env={"RTUNNEL_AUTH": "pod:secret of pod"},
            )
        )
        self.pod.wait_for("is known to others as")

    def start_server(self) -> None:
        self.server = self.started(
            rtunnel(
                *("server", "--listen", f"127.0.0.1:{self.tunnel_port}", "--entrypoint", f"127.0.0.1:{self.port}"),
                *("--route", f"{HOST}={self.tunnel}", "--users", str(self.folder / "users")),
                *("--permissions", str(self.folder / "permissions")),
            )
        )
        wait_until(lambda: listening(self.port), f"the server listens\n{self.server.output}")

    def words(self, *more: str) -> list[str]:
        """A command line of ``rtunnel dev``."""
        return [
            *("dev", HOST, "--server", f"127.0.0.1:{self.tunnel_port}", "--tunnel", self.tunnel, *BACKOFF),
            *("--target", f"127.0.0.1:{self.laptop.port}", "--isolate", "none", *more),
        ]

    def dev(self, *words: str, user: str = "alice") -> Process:
        return self.started(rtunnel(*words, env={"RTUNNEL_AUTH": f"{user}:secret of {user}"}, cwd=str(self.folder)))

    def status_of(self, dev: Process) -> int:
        """Its exit status, once it has ended."""
        try:
            return dev.wait(2 * TIMEOUT)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it goes on:\n{dev.output}") from None

    def end_command(self, status: int) -> None:
        (self.folder / "end").write_text(f"{status}\n")

    def asked(self, cookie: str = "", path: str = "/") -> str:
        """Who answers a visitor."""
        visitor = HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT)
        try:
            visitor.request("GET", path, headers={"Host": HOST, **({"Cookie": cookie} if cookie else {})})
            return visitor.getresponse().read().decode().strip()
        except OSError:
            return "nobody"
        finally:
            visitor.close()


class CommandTests(_Developing):
    def test_with_a_command(self) -> None:
        """It is started when the requests come here; with its end all is as before, and its status is ours."""
        dev = self.dev(*self.words("--set", "LEVEL=debug", "--watch", "--", "sh", "-c", COMMAND))
        dev.wait_for("GREETING=hello LEVEL=debug SESSION=alice")
        self.assertLess(dev.output.index("joined tunnel"), dev.output.index("GREETING="))
        self.assertEqual((self.asked("rtunnel-session=alice", "/mine"), self.asked()), ("laptop", "pod"))
        dev.wait_for("GET /mine  200 ")
        dev.wait_for("else the-pod")
        status = self.run_status(dev.pid)
        self.assertEqual(
            [(one["name"], one["hosts"], one["state"]) for one in status["connectors"]], [(default_name(), [HOST], "joined")]
        )
        self.end_command(7)
        self.assertEqual(self.status_of(dev), 7)
        self.assertEqual(self.asked("rtunnel-session=alice"), "pod")

    def run_status(self, pid: int) -> dict[str, Any]:
        """What ``rtunnel status`` says of a process."""
        found: dict[str, Any] = json.loads(run_rtunnel("status", str(pid), "--json").stdout)
        return found

    def test_in_a_network_of_its_own(self) -> None:
        """The requests find the command there; that nothing listens before it is no news."""
        port = free_port()
        command = (sys.executable, "-m", "rtunnel.demo.service", "--name", "within", "--port", str(port))
        dev = self.dev(*self.words("--isolate", "net", "--target", f"127.0.0.1:{port}", "--", *command))
        wait_until(lambda: self.asked("rtunnel-session=alice") == "within", f"the command answers: {dev.output}")
        dev.send(signal.SIGTERM)
        # the service ends cleanly
        self.assertEqual(self.status_of(dev), 0)
        self.assertNotIn("nothing listens at the target", dev.output)

    def test_from_a_file(self) -> None:
        """All of it from the file of the folder; what is typed overrides it. Without a terminal there is no screen."""
        (self.folder / "rtunnel.dev.yaml").write_text(
            f"host: {HOST}\nserver: ws://127.0.0.1:{self.tunnel_port}\ntunnel: {self.tunnel}\n"
            f"target: 127.0.0.1:{self.laptop.port}\nintercept: header:X-User=${{USER}}\nisolate: none\n"
            f"env:\n  set: {{LEVEL: from the file}}\noutput: app.log\nrun: [sh, -c, '{COMMAND}']\n"
        )
        dev = self.dev("dev", "--reason", "PROJ-12")
        dev.wait_for("joined tunnel")
        log = self.folder / "app.log"
        wait_until(lambda: log.exists() and log.read_text(), f"the command writes to a file: {dev.output}")
        self.assertEqual(log.read_text(), "GREETING=hello LEVEL=from the file SESSION=\n")
        self.assertNotIn("GREETING", dev.output)
        self.assertNotIn("\x1b", dev.output)
        self.end_command(0)
        self.assertEqual(self.status_of(dev), 0)

    def test_a_lost_link_is_shown_and_not_fatal(self) -> None:
        dev = self.dev(*self.words("--", "sh", "-c", COMMAND))
        dev.wait_for("GREETING=")
        self.server.send(signal.SIGKILL)
        self.server.wait()
        dev.wait_for("next attempt in")
        self.start_server()
        dev.wait_for("joined tunnel", 2)
        self.assertEqual(self.asked("rtunnel-session=alice"), "laptop")
        # it is the same command
        self.assertEqual(dev.output.count("GREETING="), 1)
        dev.send(signal.SIGTERM)
        self.assertEqual(self.status_of(dev), 128 + signal.SIGTERM)

    def test_requests_that_somebody_else_has(self) -> None:
        """The command waits for them, and says so; with --no-wait it does not."""
        first = self.dev(*self.words("--session", "checkout", "--", "sh", "-c", COMMAND))
        first.wait_for("GREETING=")
        second = self.dev(*self.words("--session", "checkout", "--", "sh", "-c", "echo started"), user="bob")
        second.wait_for("are taken by alice")
        second.wait_for("the command is started when the requests come here; with --no-wait at once")
        self.assertNotIn("started\n", second.output.replace("is started", ""))
        third = self.dev(*self.words("--session", "checkout", "--no-wait", "--", "sh", "-c", "echo at once; exit 3"), user="bob")
        self.assertEqual(self.status_of(third), 3, third.output)
        self.assertIn("at once\n", third.output)
        self.end_command(0)
        self.assertEqual((self.status_of(first), self.status_of(second)), (0, 0))

    def test_a_user_without_rights_with_the_pod(self) -> None:
        """A line says so, and the requests come all the same."""
        dev = self.dev(*self.words("--", "sh", "-c", COMMAND), user="carol")
        dev.wait_for("GREETING= LEVEL= SESSION=carol")
        self.assertIn("nothing of the pod for the command: the server refused: forbidden", dev.output)
        self.assertEqual(self.asked("rtunnel-session=carol"), "laptop")
        self.end_command(0)
        self.assertEqual(self.status_of(dev), 0)

    def test_what_cannot_be(self) -> None:
        for words, status, text in (
            (self.words("--", "no-such-command"), 127, "no-such-command: command not found"),
            (self.words("--env-file", "nowhere", "--", "true"), 1, "--env-file nowhere: cannot be read"),
            (self.words("--server", f"127.0.0.1:{free_port()}", "--", "true"), 1, "the server cannot be reached"),
        ):
            dev = self.dev(*words)
            self.assertEqual(self.status_of(dev), status, dev.output)
            self.assertIn(text, dev.output)
            self.assertNotIn("Traceback", dev.output)


class ScreenTests(_Developing):
    def on_terminal(self, *more: str) -> OnTerminal:
        auth = self.folder / "auth"
        auth.write_text("alice:secret of alice")
        terminal = OnTerminal(*self.words("--reason", "PROJ-12", "--auth-file", str(auth), *more))
        self.addCleanup(terminal.stop)
        return terminal

    def test_without_a_command(self) -> None:
        """A live screen until it is interrupted."""
        terminal = self.on_terminal("--forward", f"0:localhost:{self.service.port}")
        terminal.wait_for("the-pod (weight 1)")
        self.assertEqual(self.asked("rtunnel-session=alice", "/cart"), "laptop")
        terminal.wait_for("GET /cart")
        text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", terminal.output)
        self.assertRegex(text, rf"{HOST} -> 127\.0\.0\.1:{self.laptop.port} ")
        self.assertRegex(text, r"who +\S+, user alice, for \"PROJ-12\"")
        self.assertRegex(text, rf"open +http://{HOST}/\?rtunnel-session=alice")
        (port,) = set(re.findall(rf"reach +127\.0\.0\.1:(\d+) leads to localhost:{self.service.port}", text))
        with socket.create_connection(("127.0.0.1", int(port)), TIMEOUT):
            terminal.wait_for("in use")
        terminal.process.send_signal(signal.SIGINT)
        self.assertEqual(terminal.process.wait(TIMEOUT), 128 + signal.SIGINT)
        self.assertEqual(self.asked("rtunnel-session=alice"), "pod")
        # the cursor is there again
        self.assertIn("\x1b[?25h", terminal.output.rpartition("\x1b[?25l")[2])

    def test_plain_lines(self) -> None:
        """A screen would fight with the output of a command."""
        for more in (("--plain",), ("--", "sh", "-c", "echo on a terminal; read -r line < /dev/null; sleep 60")):
            terminal = self.on_terminal(*more)
            terminal.wait_for("joined tunnel")
            wait_until(lambda: self.asked("rtunnel-session=alice", "/cart") == "laptop", "it is served")
            terminal.wait_for("/cart")
            self.assertNotIn("\x1b[?25l", terminal.output)
            terminal.stop()
