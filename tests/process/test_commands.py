"""The commands as processes: their output, exit statuses and reactions to signals."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from http.client import HTTPConnection
from pathlib import Path
from threading import Thread
from uuid import uuid4

from twisted.trial.unittest import TestCase

from rtunnel import __version__
from rtunnel.cli.exit_status import ExitStatus
from tests.support.compiled import COMPILED
from tests.support.ids import TUNNEL
from tests.support.processes import (
    TIMEOUT,
    Process,
    free_port,
    hearing_hang_ups,
    listening,
    ourselves,
    rtunnel,
    run_rtunnel,
    wait_until,
)
from tests.support.services import NamedService

UUID = str(TUNNEL)
PYTHON = (sys.executable, "-m")
DAEMON = (sys.executable, "-c", "from twisted.scripts.twistd import run; run()")
TWISTD = (*DAEMON, "--nodaemon", "--pidfile=", "rtunnel")
STARTS = {
    "rtunnel": (*PYTHON, "rtunnel"),
    "twistd": TWISTD,
    "twist": (*PYTHON, "twisted", "--log-format=text", "rtunnel"),
}

NAMESPACE = ("unshare", "--user", "--net")
"""Starts a program without privileges in a network of its own, in which the first 1024 ports are reserved."""

PR_CAPBSET_DROP, CAP_NET_BIND_SERVICE = 24, 10
PRIVILEGED = 1
"""A port that needs privileges."""


def variables(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment without options that it may hold."""
    return {name: value for name, value in os.environ.items() if not name.startswith("RTUNNEL_")} | dict(more or {})


def unprivileged() -> None:
    """Drop the capability for privileged ports, in the child; without root there is none."""
    if os.geteuid() == 0:
        ctypes.CDLL(None, use_errno=True).prctl(PR_CAPBSET_DROP, CAP_NET_BIND_SERVICE, 0, 0, 0)


def run(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: str | None = None,
    before: Callable[[], None] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command that ends by itself."""
    return subprocess.run(
        argv,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        env=variables(env),
        cwd=cwd or tempfile.gettempdir(),
        preexec_fn=before,
        check=False,
    )


def server(listen: int, entrypoint: int) -> tuple[str, ...]:
    """The arguments of a server on loopback."""
    return (
        "server",
        "-L",
        f"tunnel+ws://127.0.0.1:{listen}?entrypoint=127.0.0.1:{entrypoint}&tunnel=nginx.local:{UUID}&path=/proxy",
    )


class ModulesTests(TestCase):
    """Processes run the modules that are tested: compiled ones, where the tests have them."""

    def test_compiled_or_not(self) -> None:
        expected = "compiled" if COMPILED else "interpreted"
        self.assertEqual(run_rtunnel("version").stdout.split()[-1], expected)
        with rtunnel("version", anew=True) as process:
            self.assertEqual(process.wait(), 0)
            self.assertEqual(process.output.split()[-1], expected)


class OutputTests(TestCase):
    """What reads the output of a command may go at any time."""

    def test_reader_is_gone(self) -> None:
        for words in (("schema", "server"), ("version",), ("--help",)):
            process = subprocess.Popen(
                [*PYTHON, "rtunnel", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=variables(), cwd="/"
            )
            assert process.stdout is not None
            process.stdout.close()
            _, errors = process.communicate(timeout=TIMEOUT)
            self.assertEqual((errors, process.returncode), (b"", ExitStatus.NOT_READ), words)


class RefusalTests(TestCase):
    """Errors are one line on stderr, with status 1."""

    def assert_line(self, ended: subprocess.CompletedProcess[str], line: str) -> None:
        self.assertEqual((ended.stderr, ended.returncode), (line + "\n", 1))

    def test_bad_value(self) -> None:
        words = ("client", "-L", "rtcp://:0/:80", "-F", f"tunnel+ws://127.0.0.1:1?tunnel.id={UUID}&tunnel.weight=256")
        for name, start in STARTS.items():
            with self.subTest(start=name):
                ended = run((*start, *words))
                self.assert_line(ended, 'rtunnel client: tunnel.weight "256": must be a whole number from 1 to 255')
                self.assertEqual(ended.stdout, "")

    def test_bad_variable(self) -> None:
        ended = run((*TWISTD, "client"), env={"RTUNNEL_TUNNEL": "x"})
        self.assertIn('rtunnel client: RTUNNEL_TUNNEL "x": not a UUID', ended.stderr)
        self.assertEqual((ended.stderr.count("\n"), ended.returncode), (1, 1))

    def test_port_in_use(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            for name, start in STARTS.items():
                with self.subTest(start=name):
                    ended = run((*start, *server(port, free_port())))
                    why = f"Address already in use ({ourselves()}); stop what listens there, or choose another port with --listen"
                    self.assert_line(ended, f"rtunnel: the tunnel listener cannot listen on 127.0.0.1:{port}: {why}")
                    self.assertNotIn("Traceback", ended.stdout)

    def test_second_port_in_use(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            ended = run((*STARTS["rtunnel"], *server(free_port(), port)))
            self.assert_line(
                ended,
                f"rtunnel: the entrypoint cannot listen on 127.0.0.1:{port}: Address already in use ({ourselves()}); "
                "stop what listens there, or choose another port with --entrypoint",
            )

    def test_address_of_another_machine(self) -> None:
        words = [word.replace("entrypoint=127.0.0.1", "entrypoint=192.0.2.1") for word in server(free_port(), 8080)]
        ended = run((*STARTS["rtunnel"], *words))
        self.assert_line(
            ended,
            "rtunnel: the entrypoint cannot listen on 192.0.2.1:8080: Cannot assign requested address; "
            "choose an address of this machine with --entrypoint, or none for all of them",
        )

    def test_permission_refused(self) -> None:
        """Without privileges, where the kernel reserves low ports: here, or in a network namespace where containers do not."""
        start = (*STARTS["rtunnel"], *server(free_port(), PRIVILEGED))
        if int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()) > PRIVILEGED:
            ended = run(start, before=unprivileged)
        elif run((*NAMESPACE, "true")).returncode == 0:
            ended = run((*NAMESPACE, *start))
        else:
            # a container in which every port is free for all, and no namespace may be made
            with Process(start, env=variables()) as process:
                process.wait_for(f"entrypoint on 127.0.0.1:{PRIVILEGED}")
            return
        self.assert_line(
            ended,
            f"rtunnel: the entrypoint cannot listen on 127.0.0.1:{PRIVILEGED}: Permission denied; "
            "a port below 1024 needs root or CAP_NET_BIND_SERVICE; choose one from 1024 with --entrypoint, or allow it",
        )

    def test_daemon_tells_the_shell(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            ended = run((*DAEMON, "rtunnel", *server(port, free_port())), cwd=folder.name)
        self.assertEqual(ended.returncode, 1)
        self.assertIn(f"the tunnel listener cannot listen on 127.0.0.1:{port}", ended.stderr)
        self.assertNotIn("Traceback", ended.stderr)
        wait_until(lambda: "Address already in use" in Path(folder.name, "twistd.log").read_text(), "the line in the log")
        self.assertNotIn("Traceback", Path(folder.name, "twistd.log").read_text())
        wait_until(lambda: not Path(folder.name, "twistd.pid").exists(), "the daemon ends, and its PID file with it")


class HelpTests(TestCase):
    """Help and version."""

    def test_version(self) -> None:
        ended = run((*STARTS["rtunnel"], "--version"))
        self.assertEqual((ended.stdout, ended.stderr, ended.returncode), (f"rtunnel {__version__}\n", "", 0))

    def test_help_is_the_same_everywhere(self) -> None:
        texts = {run((*start, "client", "--help")).stdout for start in STARTS.values()}
        self.assertEqual(len(texts), 1)
        self.assertIn("rtunnel client --server", texts.pop())

    def test_twistd_lists_the_command_and_the_reactor(self) -> None:
        self.assertIn("rtunnel", run((*DAEMON, "--help")).stdout)
        self.assertIn("rtunnel", run((*DAEMON, "--help-reactors")).stdout)


class SignalTests(TestCase):
    """A server that runs."""

    def setUp(self) -> None:
        self.listen, self.entrypoint = free_port(), free_port()

    def start(self, start: Sequence[str], *more: str) -> Process:
        process = Process([*start, *server(self.listen, self.entrypoint), *more], env={"RTUNNEL_ADMIN": ""})
        self.addCleanup(process.stop)
        process.wait_for("entrypoint on 127.0.0.1")
        wait_until(self.answered, "an answer")
        return process

    def answered(self) -> bool:
        with socket.create_connection(("127.0.0.1", self.entrypoint), timeout=TIMEOUT) as visitor:
            visitor.sendall(b"GET / HTTP/1.1\r\nHost: nobody\r\nConnection: close\r\n\r\n")
            return visitor.recv(9) == b"HTTP/1.1 "

    def test_terminate(self) -> None:
        for name, start in STARTS.items():
            with self.subTest(start=name):
                process = self.start(start, "--admin", f"127.0.0.1:{free_port()}")
                process.send(signal.SIGTERM)
                self.assertEqual(process.wait(), 0)
                self.assertIn("SIGTERM: stopping", process.output)
                self.assertNotRegex(process.output, r"\b_[A-Z]\w+ starting", "a class that nobody knows")
                self.assertNotIn("AppLogger", process.output)
                # said once; what is open on loopback is open to nobody else
                self.assertEqual(process.output.count("is an ID of the examples"), 1)
                self.assertNotIn("everybody who reaches", process.output)

    def test_interrupt(self) -> None:
        process = self.start(STARTS["rtunnel"])
        process.send(signal.SIGINT)
        self.assertEqual(process.wait(), 0)

    def test_as_soon_as_a_port_is_open(self) -> None:
        """Its reactor does not run yet; what is asked for is done when it does."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            with self.subTest(signal=number.name):
                process = Process([*STARTS["rtunnel"], *server(self.listen, self.entrypoint)])
                self.addCleanup(process.stop)
                wait_until(lambda: listening(self.listen), "a port")
                process.send(number)
                if number == signal.SIGHUP:
                    process.wait_for("reloaded: nothing changed")
                    process.send(signal.SIGTERM)
                self.assertEqual(process.wait(), 0)

    def test_hang_up(self) -> None:
        process = self.start(STARTS["twistd"])
        process.send(signal.SIGHUP)
        process.wait_for("reloaded: nothing changed")
        self.assertTrue(self.answered())

    def test_reactors(self) -> None:
        for words in (("--reactor", "select"), ("--reactor=asyncio",)):
            with self.subTest(words=words):
                process = self.start((*STARTS["rtunnel"], *words))
                process.send(signal.SIGTERM)
                self.assertEqual(process.wait(), 0)

    def test_daemon(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        pidfile, logfile = Path(folder.name, "pid"), Path(folder.name, "log")
        argv = (*DAEMON, f"--pidfile={pidfile}", f"--logfile={logfile}", "rtunnel")
        with hearing_hang_ups():
            ended = run((*argv, *server(self.listen, self.entrypoint)), cwd=folder.name)
        self.assertEqual((ended.stdout, ended.stderr, ended.returncode), ("", "", 0))
        pid = int(pidfile.read_text())
        try:
            wait_until(self.answered, "an answer")
            os.kill(pid, signal.SIGHUP)
            wait_until(lambda: "reloaded: nothing changed" in logfile.read_text(), "the line in the log")
            os.kill(pid, signal.SIGTERM)
            wait_until(lambda: not pidfile.exists(), "the end of the daemon")
        finally:
            if pidfile.exists():
                os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not listening(self.listen), "a closed port")


class DrainTests(TestCase):
    """A request that runs when the server is told to stop."""

    def setUp(self) -> None:
        self.listen, self.entrypoint = free_port(), free_port()
        self.service = NamedService("pod")
        self.addCleanup(self.service.stop)
        self.addCleanup(self.service.go.set)
        self.host = f"{uuid4().hex}.local"
        self.answers: list[bytes] = []

    def start(self, *words: str) -> Process:
        process = Process([*STARTS["rtunnel"], *words], env={"RTUNNEL_ADMIN": ""})
        self.addCleanup(process.stop)
        return process

    def visit(self) -> None:
        connection = HTTPConnection("127.0.0.1", self.entrypoint, timeout=TIMEOUT)
        try:
            connection.request("GET", "/wait", headers={"Host": self.host})
            self.answers.append(connection.getresponse().read())
        except OSError:
            self.answers.append(b"cut off")
        finally:
            connection.close()

    def begin(self, drain: str) -> tuple[Process, Thread]:
        """Start all, and a request that waits in its target."""
        server = self.start(
            *("server", "--listen", f"127.0.0.1:{self.listen}", "--entrypoint", f"127.0.0.1:{self.entrypoint}"),
            *("--route", f"{self.host}={UUID}", "--drain", drain),
        )
        server.wait_for("entrypoint on")
        client = self.start(
            *("client", "--server", f"127.0.0.1:{self.listen}", "--tunnel", UUID),
            *("--target", f"127.0.0.1:{self.service.port}"),
        )
        client.wait_for("joined")
        visitor = Thread(target=self.visit)
        visitor.start()
        self.addCleanup(visitor.join)
        wait_until(lambda: self.service.requests, "the request at its target")
        return server, visitor

    def test_it_ends_first(self) -> None:
        server, visitor = self.begin("10s")
        server.send(signal.SIGTERM)
        wait_until(lambda: not listening(self.entrypoint), "a closed entrypoint")
        self.service.go.set()
        self.assertEqual(server.wait(), 0)
        visitor.join()
        self.assertEqual(self.answers, [b"pod"])

    def test_second_interrupt_does_not_wait(self) -> None:
        server, visitor = self.begin("600s")
        server.send(signal.SIGINT)
        wait_until(lambda: not listening(self.entrypoint), "a closed entrypoint")
        server.send(signal.SIGINT)
        self.assertEqual(server.wait(), -signal.SIGINT)
        visitor.join()
        self.assertNotEqual(self.answers, [b"pod"])

    def test_time_is_limited(self) -> None:
        server, visitor = self.begin("200ms")
        server.send(signal.SIGTERM)
        self.assertEqual(server.wait(), 0)
        visitor.join()
        self.assertNotEqual(self.answers, [b"pod"])
