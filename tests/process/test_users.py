"""Users and permissions as a user sees them: real processes, files that change, and a real gost at either end."""

from __future__ import annotations

import os
import re
import signal
import sys
from base64 import b64encode
from functools import cache
from pathlib import Path
from uuid import uuid4

from twisted.trial.unittest import TestCase

from tests.support.processes import ROOT, Process, ask, free_port, gost, listening, needed, rtunnel, run_rtunnel, wait_until
from tests.support.services import NamedService

HOST = "pod.local"
BACKOFF = ("--backoff-min", "50ms", "--backoff-max", "200ms")


@cache
def user_line(name: str, password: str) -> str:
    """What ``rtunnel user`` prints: always the same here, as its hash takes a while to compute."""
    done = run_rtunnel("user", name, typed=f"{password}\n")
    done.check_returncode()
    return done.stdout


class _Case(TestCase):
    timeout = 120

    def setUp(self) -> None:
        self.tunnel = str(uuid4())
        self.tunnel_port, self.port = free_port(), free_port()
        self.service = NamedService("pod")
        self.addCleanup(self.service.stop)

    def started(self, process: Process) -> Process:
        self.addCleanup(process.stop)
        return process

    def listener_url(self, user: str = "", more: str = "") -> str:
        return (
            f"tunnel+ws://{user}127.0.0.1:{self.tunnel_port}"
            f"?entrypoint=127.0.0.1:{self.port}&tunnel={HOST}:{self.tunnel}&path=/proxy{more}"
        )

    def serve(self, *options: str, user: str = "", more: str = "") -> Process:
        server = self.started(rtunnel("server", "-L", self.listener_url(user, more), *options))
        wait_until(lambda: listening(self.port), f"the server listens\n{server.output}")
        return server

    def join(self, auth: str = "") -> Process:
        return self.started(
            rtunnel(
                "client",
                *("--server", f"ws://127.0.0.1:{self.tunnel_port}/proxy", "--tunnel", self.tunnel),
                *("--target", f"127.0.0.1:{self.service.port}", *BACKOFF),
                env={"RTUNNEL_AUTH": auth},
            )
        )

    def join_with_gost(self, auth: str) -> Process:
        return self.started(
            gost(
                *("-L", f"rtcp://:0/127.0.0.1:{self.service.port}"),
                *("-F", f"tunnel+ws://{auth}127.0.0.1:{self.tunnel_port}?tunnel.id={self.tunnel}&path=/proxy"),
            )
        )

    def status(self) -> int:
        return ask(self.port, "/", headers={"Host": HOST})[0]

    def wait_for(self, status: int) -> None:
        wait_until(lambda: self.status() == status, f"visitors see {status}")


class UsersFileTests(_Case):
    """Our server with files, our client."""

    def setUp(self) -> None:
        super().setUp()
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        self.users, self.permissions = folder / "users", folder / "permissions"
        self.users.write_text(user_line("alice", "swordfish"))
        self.permissions.write_text("bind alice *\n")
        self.auth_file = folder / "password"
        self.auth_file.write_text("alice:herring\n")

    def write(self, path: Path, text: str) -> None:
        new = path.with_suffix(".new")
        new.write_text(text)
        os.replace(new, path)

    def test_wrong_then_right(self) -> None:
        """A wrong password is refused, with words at both ends; the right one is let in right after it."""
        server = self.serve("--users", str(self.users))
        client = self.join("alice:herring")
        client.wait_for("the server refused: unauthorized (status 2); it does not know the user alice with this password")
        client.wait_for("the server refused: unauthorized (status 2) (2 times in a row)")
        server.wait_for("(user alice): wrong user or password", 2)
        nobody = self.join()
        nobody.wait_for("it asks for a user and password; give them with --auth-file or RTUNNEL_AUTH")
        self.assertEqual(self.status(), 503)
        self.join("alice:swordfish")
        self.wait_for(200)
        for process in (server, client):
            self.assertNotIn("swordfish", process.output)
            self.assertNotIn("herring", process.output)

    def test_files_change(self) -> None:
        """New users come in without a restart; those that are gone, or may no longer, go; a broken file changes nothing."""
        server = self.serve("--users", str(self.users), "--permissions", str(self.permissions))
        bob = self.join("bob:herring")
        bob.wait_for("unauthorized (status 2)")
        alice = user_line("alice", "swordfish")
        self.write(self.users, alice + user_line("bob", "herring"))
        bob.wait_for("forbidden (status 3)")
        self.write(self.permissions, f"bind bob {HOST}\n")
        self.wait_for(200)
        self.write(self.permissions, "bind bob\n")
        server.wait_for(f"{self.permissions}:1: has 2 words and not three")
        self.assertEqual(self.status(), 200)
        self.write(self.users, alice)
        self.write(self.permissions, "bind bob *\n")
        server.wait_for(": the user was removed")
        self.wait_for(503)

    def test_hang_up(self) -> None:
        """SIGHUP reads the files at once; where one is broken it says so and changes nothing."""
        server = self.serve("--users", str(self.users), "--permissions", str(self.permissions))
        self.join("alice:swordfish")
        self.wait_for(200)
        self.write(self.permissions, "bind\n")
        server.send(signal.SIGHUP)
        server.wait_for(f"{self.permissions}:1: has 1 word and not three")
        self.assertEqual(self.status(), 200)
        self.write(self.permissions, "bind bob *\n")
        server.send(signal.SIGHUP)
        server.wait_for("the permissions no longer allow the user to bind it")
        self.wait_for(503)

    def test_page(self) -> None:
        """The commands of docs/users.md, as they stand but for ports that may be taken."""
        needed("openssl")
        home = self.users.parent
        program = home / "rtunnel"
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -m rtunnel "$@"\n')
        program.chmod(0o755)
        page = (ROOT / "docs" / "users.md").read_text(encoding="utf-8")
        for before, after in {
            ":8421": f":{self.tunnel_port}",
            ":8422": f":{free_port()}",
            ":8080": f":{self.port}",
            ":8081": f":{free_port()}",
            ":8000": f":{self.service.port}",
        }.items():
            page = page.replace(before, after)
        blocks = re.findall(r"^```sh\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
        self.assertEqual(len(blocks), 3)
        for block in blocks:
            script = f"trap 'kill $(jobs -p)' EXIT\ntrap exit TERM\n{block}wait"
            env = {"PATH": f"{home}:{os.environ['PATH']}", "RTUNNEL_BACKOFF_MAX": "500ms"}
            process = self.started(Process(["bash", "-c", script], cwd=str(home), env=env))
            process.wait_for("joined tunnel" if "rtunnel client" in block else "entrypoint on")
            process.stop()

    def test_bad_file_at_the_start(self) -> None:
        self.users.write_text("alice:swordfish\n")
        server = self.started(rtunnel("server", "-L", self.listener_url(), "--users", str(self.users)))
        self.assertEqual(server.wait(), 1)
        self.assertIn(f"rtunnel: {self.users}:1: holds no Argon2id hash after the colon", server.output)
        self.assertNotIn("swordfish", server.output)


class UrlTests(_Case):
    """The one user of a URL."""

    def test_user_in_url(self) -> None:
        self.serve(user="user:secret@")
        self.join("user:wrong").wait_for("unauthorized (status 2)")
        self.join("user:secret")
        self.wait_for(200)

    def test_auth_key(self) -> None:
        self.serve(more=f"&auth={b64encode(b'user:secret').decode()}")
        self.join("user:secret")
        self.wait_for(200)

    def test_gost_client(self) -> None:
        """Gost's client against our server: refused, then let in."""
        server = self.serve(user="user:secret@")
        self.join_with_gost("user:wrong@")
        server.wait_for("(user user): wrong user or password")
        self.assertEqual(self.status(), 503)
        self.join_with_gost("user:secret@")
        self.wait_for(200)

    def test_gost_server(self) -> None:
        """Our client against gost's server: refused, then let in."""
        self.started(gost("-L", self.listener_url("user:secret@")))
        wait_until(lambda: listening(self.port), "gost listens")
        self.join("user:wrong").wait_for("unauthorized (status 2)")
        self.join("user:secret")
        self.wait_for(200)
