"""A tunnel's ID never leaves a process whole, and a password not at all.

Not in logs, errors, the access log, metrics, the status or the list of processes.
"""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from http.client import HTTPConnection
from io import StringIO
from pathlib import Path
from random import Random
from urllib.request import urlopen
from uuid import uuid4

from twisted.trial.unittest import TestCase

from rtunnel import tap
from rtunnel.__main__ import main
from tests.process.test_users import user_line
from tests.support.processes import TIMEOUT, Process, free_port, listening, rtunnel, wait_until
from tests.support.services import NamedService

PASSWORDS = ("swordfish", "herring")
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
        self.shows_no_password(text, what)

    def shows_no_password(self, text: str, what: str) -> None:
        for password in PASSWORDS:
            self.assertNotIn(password, text, what)


class ProcessTests(SecretCase):
    """Everything that processes write."""

    def setUp(self) -> None:
        super().setUp()
        self.processes: list[Process] = []

    def start(self, *words: str, auth: str = "alice:swordfish") -> Process:
        process = rtunnel(*words, env={"RTUNNEL_AUTH": auth} if words[0] != "server" else None, anew=True)
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
        with self.subTest("list of processes"):
            for process in self.processes:
                self.shows_no_password(Path(f"/proc/{process.pid}/cmdline").read_text(), process.argv[3])
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


class ErrorCase(SecretCase):
    """What the command line prints."""

    def run_command(self, *words: str) -> str:
        """All that a command prints before it ends; a server or client ends at its settings, before it starts.

        What "convert" makes of a file with a password has it, of course, and is not looked at.
        """
        with redirect_stdout(StringIO()) as product, redirect_stderr(StringIO() if words[0] == "convert" else product) as output:
            try:
                if words[0] in ("check", "convert", "status"):
                    main(words)
                else:
                    tap.Options().parseOptions(words)
            except SystemExit as stopped:
                if isinstance(stopped.code, str):
                    print(stopped.code)
            return output.getvalue()


class ErrorTests(ErrorCase):
    """IDs in what is printed."""

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


BEGINNING, END = "Kx7QqM", "Zw9VvT"
"""Of each password, with something in between."""
MARK = "{}"
SEPARATORS = " \t\n:@/%#?&={}[]()\"'\\*!|>,;-+~`$<^_.\u00e9"
INSERTED = (*SEPARATORS, "://", "%zz", "@@", "::", "\n  ", "- ", ": ")

ID = "10bc451e-59dc-4c70-999e-91a30813ac78"
CLIENT = ("client", "--server", "ws://h:1", "--tunnel", ID, "--target", ":80")
SERVER = ("server", "--listen", ":1", "--entrypoint", ":2", "--route", f"a={ID}")
BY_URL = ("client", "-L", "rtcp://:0/:80")
LISTENER_URL = f"tunnel+ws://alice:{{}}@:1?entrypoint=:2&tunnel=a:{ID}"
CONNECTOR_URL = f"tunnel+ws://alice:{{}}@h:1?tunnel.id={ID}"
PROXY_URL = "http://alice:{}@proxy:3128"
FILES = {
    "client": f"server: ws://h:1\ntunnel: {ID}\ntarget: :80\nauth: alice:{{}}\nproxy: http://alice:{{}}@proxy:3128\n",
    "maps": "server: ws://alice:{}@h:1\nauth:\n  user: alice\n  password: {}\nproxy: [http://alice:{}@proxy:3128, 'direct']\n",
    "list": f'connectors:\n- server: ws://h:1\n  tunnel: {ID}\n  target: :80\n  auth: "alice:{{}}"\n',
    "twice": "server: ws://h:1\nauth: alice:{}\nauth: bob:{}\nproxy: &a {}\nauth-file: *a\n? {}\n: x\n",
    "server": f"listen: ws://:1\nentrypoint: :2\nroutes:\n  a: {ID}\nauth: alice:{{}}\n",
    "gost": (
        "services:\n- name: s\n  addr: :1\n  handler:\n    type: tunnel\n    auth:\n      username: alice\n      password: {}\n"
        f"    metadata:\n      entrypoint: :2\n      tunnel: a:{ID}\n  listener:\n    type: ws\n"
    ),
    "gost.json": (
        '{"services":[{"name":"s","addr":":1","handler":{"type":"tunnel","auth":{"username":"alice","password":"{}"}},'
        '"listener":{"type":"ws"}}]}'
    ),
}


class PasswordTests(ErrorCase):
    """A password in every place where one may be written, with something mistyped near it or in it."""

    def mistype(self, draw: Random, text: str) -> str:
        """A text with one thing wrong beside its passwords, or none, and something in the middle of them, or nothing."""
        parts = text.split(MARK)
        number = draw.randrange(len(parts))
        part = parts[number]
        place = draw.randint(0, len(part))
        parts[number] = draw.choice(
            (
                part,
                part[:place] + draw.choice(INSERTED) + part[place:],
                part[:place] + part[place + 1 :],
                part[:place] + draw.choice(INSERTED) + part[place + 1 :],
                part[: max(place - 1, 0)] + part[place : place + 1] + part[max(place - 1, 0) : place] + part[place + 1 :],
                part[:place] + part[max(0, place - 5) :],
            )
        )
        return (BEGINNING + draw.choice(("", draw.choice(SEPARATORS))) + END).join(parts)

    def shows_nothing(self, template: str, *words: str, variable: str = "", times: int = 15) -> None:
        """Run a command with the text in place of the word ``{}``, or as a variable.

        :param words: a word may hold ``{}``, and stands for the whole text then.
        """
        draw = Random(template + "".join(words) + variable)
        for _ in range(times):
            text = self.mistype(draw, template)
            with self.subTest(text=text, words=words, variable=variable):
                self.patch(os, "environ", {**self.variables, variable: text} if variable else self.variables)
                said = self.run_command(*(text if word == MARK else word for word in words))
                self.assertNotIn(BEGINNING, said)
                self.assertNotIn(END, said)

    def setUp(self) -> None:
        super().setUp()
        self.variables = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}

    def test_command_line(self) -> None:
        self.shows_nothing("alice:{}", *CLIENT, "--auth", MARK)
        self.shows_nothing("{}", *CLIENT, f"--auth=alice:{BEGINNING}{END}", times=1)
        self.shows_nothing("{}", *CLIENT, f"--auth{BEGINNING}{END}", times=1)
        self.shows_nothing("{}", *CLIENT, f"--atuh=alice:{BEGINNING}{END}", times=1)
        self.shows_nothing("{}", *CLIENT, f"alice:{BEGINNING}{END}", times=1)
        self.shows_nothing("alice:{}", *CLIENT, "--auth-file", MARK, times=1)
        self.shows_nothing(PROXY_URL, *CLIENT, "--proxy-file", MARK, times=1)
        self.shows_nothing("alice:{}", *SERVER, "--users", MARK, times=1)
        self.shows_nothing(PROXY_URL, *CLIENT, "--proxy", MARK)
        self.shows_nothing("ws://alice:{}@h:1/ws", "client", "--server", MARK, *CLIENT[3:])
        self.shows_nothing("ws://alice:{}@:1/ws", "server", "--listen", MARK, *SERVER[3:])
        self.shows_nothing("http://alice:{}@localhost:80", *CLIENT[:-1], MARK)
        self.shows_nothing("http://alice:{}@127.0.0.1:1", "status", "--admin", MARK)

    def test_urls_of_gost(self) -> None:
        for command in (BY_URL, ("convert", *BY_URL)):
            self.shows_nothing(CONNECTOR_URL, *command, "-F", MARK)
            self.shows_nothing(f"tunnel+ws://h:1?tunnel.id={ID}&auth={{}}", *command, "-F", MARK)
            self.shows_nothing(PROXY_URL, *command, "-F", MARK, "-F", f"tunnel+ws://h:1?tunnel.id={ID}")
        self.shows_nothing(LISTENER_URL, "server", "-L", MARK)
        self.shows_nothing("rtcp://alice:{}@:0/:80", "client", "-L", MARK, "-F", f"tunnel+ws://h:1?tunnel.id={ID}")
        self.shows_nothing("tcp://alice:{}@:2222/a", "visitor", "-L", MARK, "-F", f"tunnel+ws://h:1?tunnel.id={ID}")

    def test_environment(self) -> None:
        for words in (CLIENT, SERVER):
            self.shows_nothing("alice:{}", *words, variable="RTUNNEL_AUTH")
            self.shows_nothing("alice:{}", *words, variable="RTUNNEL_AUHT", times=1)
            self.shows_nothing("alice:{}", *words, variable="RTUNNEL_AUTH_FILE", times=1)
        for variable in ("RTUNNEL_PROXY", "HTTP_PROXY"):
            self.shows_nothing(PROXY_URL, *CLIENT, variable=variable)
        self.shows_nothing(f"{PROXY_URL} {CONNECTOR_URL}", *BY_URL, variable="RTUNNEL_F")
        self.shows_nothing(f"{LISTENER_URL}&auth={{}}", "server", variable="RTUNNEL_L")
        self.shows_nothing("ws://alice:{}@h:1/ws", "client", *CLIENT[3:], variable="RTUNNEL_SERVER")

    def test_files(self) -> None:
        """Of settings, of gost, and those that hold nothing but a password."""

        def command(name: str, path: str) -> tuple[str, ...]:
            return ("convert", path) if name.startswith("gost") else ("check", path)

        contents: dict[str, tuple[str, Callable[[str], tuple[str, ...]]]] = {
            **{name: (text, partial(command, name)) for name, text in FILES.items()},
            "auth": ("alice:{}\n", lambda path: (*CLIENT, "--auth-file", path)),
            "proxy": (f"{PROXY_URL}\n", lambda path: (*CLIENT, "--proxy-file", path)),
            "users": ("alice:{}\nbob:$argon2id$v=19$m=65536,t=3,p=4${}$abc\n", lambda path: (*SERVER, "--users", path)),
        }
        self.patch(os, "environ", self.variables)
        for name, (template, words) in contents.items():
            draw = Random(name)
            for _ in range(15):
                text = self.mistype(draw, template)
                with self.subTest(text=text, name=name):
                    said = self.run_command(*words(self.write(name, text)))
                    self.assertNotIn(BEGINNING, said)
                    self.assertNotIn(END, said)

    def test_what_is_shown(self) -> None:
        """Errors still repeat what cannot be a password."""
        for text, shown in (
            ("h:99999", "h:99999"),
            ("h", "h"),
            ("[::1]:99999", "[::1]:99999"),
            ("::1:80", "::1:80"),
            ("wss://h:80x/path", "wss://h:..."),
        ):
            self.assertIn(f'"{shown}": ', self.run_command("client", "--server", text, *CLIENT[3:]), text)
        self.assertIn('"unix:relative": ', self.run_command(*CLIENT[:-1], "unix:relative"))
