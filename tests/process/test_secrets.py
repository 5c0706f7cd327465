"""A tunnel's ID never leaves a process whole: not in logs, errors, the access log, metrics or the status."""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
from contextlib import redirect_stderr, redirect_stdout
from http.client import HTTPConnection
from io import StringIO
from pathlib import Path
from urllib.request import urlopen
from uuid import uuid4

from twisted.trial.unittest import TestCase

from rtunnel import tap
from rtunnel.__main__ import main
from tests.process.test_users import user_line
from tests.support.processes import TIMEOUT, Process, free_port, listening, rtunnel, wait_until
from tests.support.services import NamedService

BACKOFF = ("--backoff-min", "50ms", "--backoff-max", "1s")


class SecretCase(TestCase):
    """Some IDs, and a search for them."""

    timeout = 120

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.public, self.private, self.unknown, self.forbidden = (str(uuid4()) for _ in range(4))
        self.patch(os, "environ", {name: value for name, value in os.environ.items() if not name.startswith("RTUNNEL_")})

    def write(self, name: str, text: str) -> str:
        """Put a file in place, whole."""
        path, new = self.folder / name, self.folder / "new"
        new.write_text(text)
        os.replace(new, path)
        return str(path)

    def shows_no_id(self, text: str, what: str) -> None:
        """The first eight characters may be there, nothing of the others."""
        for whole in (self.public, self.private, self.unknown, self.forbidden):
            for part in (whole[9:18], whole[19:], whole.replace("-", "")[8:20]):
                self.assertNotIn(part, text, what)


class ProcessTests(SecretCase):
    """Everything that processes write."""

    def setUp(self) -> None:
        super().setUp()
        self.processes: list[Process] = []

    def start(self, *words: str, auth: str = "alice:swordfish") -> Process:
        process = rtunnel(*words, env={"RTUNNEL_AUTH": auth} if words[0] != "server" else None)
        self.addCleanup(process.stop)
        self.processes.append(process)
        return process

    def test_running(self) -> None:
        """Joins, visits, refusals, a reload, broken files and a loss, at a server, a client and a visitor."""
        service = NamedService("pod")
        self.addCleanup(service.stop)
        tunnel_port, port, local, admin, client_admin, visitor_admin = (free_port() for _ in range(6))
        to_server = ("--server", f"ws://127.0.0.1:{tunnel_port}/proxy", *BACKOFF)
        target = ("--target", f"127.0.0.1:{service.port}")
        users = self.write("users", user_line("alice", "swordfish") + user_line("bob", "herring"))
        allowed = f"bind,visit alice {self.public},{self.private},{self.unknown}\nbind bob {self.public}\n"
        permissions = self.write("permissions", allowed)
        rules = self.write("rules", f"forbidden.local={self.forbidden}\n")
        settings = (
            f"listeners:\n- listen: ws://127.0.0.1:{tunnel_port}/proxy\n  entrypoint: 127.0.0.1:{port}\n"
            f"  users: {users}\n  permissions: {permissions}\n  routes-file: {rules}\n  routes:\n"
            f"    public.local: {self.public}\n    private.svc: ${self.private}\n"
        )
        log = self.folder / "access.log"
        server = self.start(
            *("server", "-c", self.write("server.yaml", settings), "--admin", f"127.0.0.1:{admin}", "--access-log", str(log))
        )
        server.wait_for("entrypoint on")

        with self.subTest("joined"):
            client = self.start(
                *("client", *to_server, "--tunnel", self.public, *target, "--bind", "not-granted.local"),
                *("--admin", f"127.0.0.1:{client_admin}"),
            )
            client.wait_for(f"joined tunnel {self.public[:8]}")
            server.wait_for(f"asked for the host not-granted.local, to which no ingress rule of tunnel {self.public[:8]} leads")
            server.wait_for(f"joined tunnel {self.public[:8]} with weight 1")
            private = self.start("client", *to_server, "--tunnel", self.private, *target)
            private.wait_for(f"joined tunnel {self.private[:8]}")
        with self.subTest("refused"):
            self.start("client", *to_server, "--tunnel", self.unknown, *target).wait_for("forbidden (status 3)")
            server.wait_for(f"no ingress rule names the tunnel {self.unknown[:8]}")
            self.start("client", *to_server, "--tunnel", self.forbidden, *target).wait_for("forbidden (status 3)")
            server.wait_for(f"do not allow it to bind the tunnel {self.forbidden[:8]}")
        with self.subTest("visited"):
            visitor = self.start(
                *("visitor", *to_server[:2], "--tunnel", self.private, "--listen", f"127.0.0.1:{local}", "--to", "private.svc"),
                *("--admin", f"127.0.0.1:{visitor_admin}"),
            )
            visitor.wait_for(f"leads to private.svc in tunnel {self.private[:8]}")
            self.assertEqual((self.ask(port, "public.local"), self.ask(local, "any")), (200, 200))
            stranger_port = free_port()
            stranger = self.start(
                *("visitor", *to_server[:2], "--tunnel", self.unknown, "--listen", f"127.0.0.1:{stranger_port}"),
                *("--to", "private.svc"),
            )
            stranger.wait_for("leads to private.svc")
            self.assertEqual(self.ask(stranger_port, "any"), 0)
            stranger.wait_for("cannot visit")
            server.wait_for("rejected: ")
        with self.subTest("asked"):
            for address in (admin, client_admin, visitor_admin):
                for path in ("status", "metrics"):
                    with urlopen(f"http://127.0.0.1:{address}/{path}", timeout=TIMEOUT) as answer:
                        self.shows_no_id(answer.read().decode(), path)
            wait_until(lambda: log.exists() and log.read_text().count("\n") >= 3, "three lines in the access log")
        with self.subTest("broken files"):
            self.write("rules", f"a.local={self.forbidden}\na.local={self.unknown}\n{self.unknown}\n")
            server.wait_for(f'rules:2: "a.local={self.unknown[:8]}...": this host has another tunnel in line 1')
            self.write("permissions", f"bind alice {self.public},,{self.private}\n")
            server.send(signal.SIGHUP)
            server.wait_for(f'has a comma without a name beside it in "{self.public[:8]}...,,{self.private[:8]}..."')
            self.write("permissions", f'bind alice "{self.public}"\n')
            server.send(signal.SIGHUP)
            server.wait_for("* is the only wildcard and nothing is quoted")
        with self.subTest("broken settings"):
            self.write("rules", "")
            self.write("permissions", allowed)
            self.write("server.yaml", settings + f"    bad host: {self.unknown}\n    {self.unknown}: other\n")
            server.send(signal.SIGHUP)
            server.wait_for(f'routes "{self.unknown[:8]}...=other": has no valid UUID')
        with self.subTest("no longer allowed"):
            self.write("server.yaml", settings)
            self.write("permissions", f"bind,visit alice {self.private}\n")
            server.send(signal.SIGHUP)
            server.wait_for(f"with tunnel {self.public[:8]}: the permissions no longer allow the user to bind it")
            server.wait_for(f"left tunnel {self.public[:8]}")
            client.wait_for(f"tunnel {self.public[:8]} at 127.0.0.1:{tunnel_port}: lost the link")
        with self.subTest("lost"):
            server.send(signal.SIGKILL)
            private.wait_for("lost the link")

        self.shows_no_id(log.read_text(), "access log")
        for process in self.processes:
            self.shows_no_id(process.output, f"output of {process.argv[3]}")

    def ask(self, port: int, host: str) -> int:
        """The status of an answer, 0 when the connection broke."""
        wait_until(lambda: listening(port), f"port {port} listens")
        connection = HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
        self.addCleanup(connection.close)
        with contextlib.suppress(OSError):
            connection.request("GET", "/", headers={"Host": host})
            return connection.getresponse().status
        return 0


class ErrorTests(SecretCase):
    """What the command line prints."""

    def run_command(self, *words: str) -> str:
        """All that a command prints before it ends; a server or client ends at its settings, before it starts."""
        with redirect_stdout(StringIO()) as output, redirect_stderr(output):
            try:
                if words[0] in ("check", "convert"):
                    main(words)
                else:
                    tap.Options().parseOptions(words)
            except SystemExit as stopped:
                if isinstance(stopped.code, str):
                    print(stopped.code)
            return output.getvalue()

    def test_refused_settings(self) -> None:
        """An error repeats what was typed, but of an ID only the beginning."""
        whole, other = self.public, self.private
        server = ("server", "--listen", "127.0.0.1:1", "--entrypoint", "127.0.0.1:2")
        client = ("client", "--server", "127.0.0.1:1", "--target", ":80")
        routes = f"routes:\n  a: {whole}x\n  {whole}: b\n  {whole}: c\n{whole}: d\n"
        file = self.write("bad.yaml", f"listen: :1\nentrypoint: :2\n{routes}")
        handler = f"{{type: tunnel, metadata: {{tunnel: 'a:{whole}x', {whole}: 1}}}}"
        gost = self.write("gost.yaml", f"services:\n- addr: :1\n  handler: {handler}\n")
        for words in (
            (*client, "--tunnel", whole[:-1]),
            (*client, "--tunnel", whole + "0"),
            (*client, "--tunnel", whole.replace("-", "")),
            (*client, "--tunnel", f"{{{whole}}}"),
            (*client, "--tunnel", f"urn:uuid:{whole}"),
            (*client, whole),
            (*client, f"--{whole}"),
            (*client, "--tunnel", whole, "--weight", whole),
            (*server, "--route", f"a b={whole}"),
            (*server, "--route", f"a.local={whole[:-1]}"),
            (*server, "--route", whole),
            (*server, "--route", f"a={whole}", "--route", f"a={other}"),
            (*server, "--route", f"a={whole}", "--entrypoint-id", whole),
            ("server", "-L", f"tunnel+ws://:1?entrypoint=:2&tunnel=a:{whole}#"),
            ("server", "-L", f"tunnel+ws://:1?entrypoint=:2&tunnel=a:{whole}x"),
            ("server", "-L", f"tunnel+ws://:1?entrypoint=:2&{whole}=a"),
            ("client", "-L", "rtcp://:0/:80", "-F", f"tunnel+ws://:1/{whole}?tunnel.id={whole}"),
            ("client", "-L", "rtcp://:0/:80", "-F", f"{whole}://:1"),
            (whole,),
            ("check", file),
            ("check", file, whole),
            ("convert", gost),
            ("convert", "client", "-L", "rtcp://:0/:80", "-F", f"tunnel+ws://:1?tunnel.id={whole}x"),
        ):
            with self.subTest(words=words):
                said = self.run_command(*words)
                self.assertNotEqual(said, "")
                self.shows_no_id(said, said)

    def test_checked(self) -> None:
        """What a good file would do is said with the beginnings of IDs."""
        said = self.run_command("check", self.write("client.yaml", f"server: :1\ntunnel: {self.public}\ntarget: :80\n"))
        self.assertIn(f"joins tunnel {self.public[:8]} at", said)
        self.shows_no_id(said, said)
