"""``rtunnel run`` with real processes: a pod in a network namespace, and commands that see what it has, also without root."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.process.test_reach import _Reaching
from tests.process.test_users import HOST
from tests.support.nobody import as_nobody
from tests.support.pod_network import PodNetwork
from tests.support.processes import ROOT, Process, free_port, listening, needed, wait_until

ENVIRONMENT = """\
DATABASE_URL=postgres://shop@postgres:5432/shop
REDIS_HOST=redis.shop
REDIS_PORT=6379
WEB=http://web/
CONFIG=/config/app.yaml
TOKEN='two
lines'
PATH=/nowhere
HOME=/nowhere
"""
SCRIPT = "import json, os, sys; json.dump(dict(os.environ), sys.stdout)"


class _Running(_Reaching):
    """A pod with an environment, files and services."""

    listen = "0.0.0.0"
    permissions = f"bind pod {HOST}\nreach,env,files alice {HOST}\nbind bob {HOST}\n"
    rules = "postgres:5432,redis.shop.svc:6379,web:80,*.shop.svc:8000,localhost:9"

    def setUp(self) -> None:
        self.network = PodNetwork()
        self.addCleanup(self.network.close)
        super().setUp()
        self.started(self.network.serve({})).wait_for("ready")
        self.redis(self.network)
        (self.folder / "pod.env").write_text(ENVIRONMENT)
        self.volume = self.folder / "volume"
        self.write(1)
        argv = [
            *(sys.executable, "-m", "rtunnel", "client", "--server", f"{self.network.gateway}:{self.tunnel_port}"),
            *("--tunnel", self.tunnel, "--target", f"127.0.0.1:{self.service.port}", "--reach", self.rules),
            *("--env-source", str(self.folder / "pod.env"), "--env-allow-secret", "*", "--env-allow", "*,PATH,HOME"),
            *("--files", f"/config={self.volume},/var/run/secrets/app={self.volume},/etc/ssl={self.volume},/usr/bin={self.volume}"),
        ]
        self.pod = self.started(self.network.in_pod(*argv, env={"RTUNNEL_AUTH": "pod:secret of pod"}))
        self.pod.wait_for("is known to others as")
        self.sessions = Path(tempfile.mkdtemp(prefix="rtunnel-sessions-"))
        self.addCleanup(shutil.rmtree, self.sessions, ignore_errors=True)
        self.sessions.chmod(0o755)
        for name in ("root", "nobody"):
            self.session(name).mkdir(mode=0o700)
            shutil.chown(self.session(name), name)

    def session(self, user: str = "root") -> Path:
        """The folder of a user's session."""
        return self.sessions / user

    def write(self, number: int) -> None:
        self.volume.mkdir(exist_ok=True)
        temporary = self.volume / "temporary"
        temporary.write_text(f"number: {number}\n")
        temporary.rename(self.volume / "app.yaml")

    def argv(self, *words: str, nobody: bool = False) -> list[str]:
        """The command line of a run; the command stands behind ``--``."""
        where = ("--server", f"127.0.0.1:{self.tunnel_port}", "--tunnel", self.tunnel)
        return [*(as_nobody() if nobody else ()), sys.executable, "-m", "rtunnel", "run", HOST, *where, *words]

    def variables(self, user: str = "root") -> dict[str, str]:
        return {"RTUNNEL_AUTH": "alice:secret of alice", "XDG_RUNTIME_DIR": str(self.session(user))}

    def run_it(self, *words: str, status: int = 0, nobody: bool = False, text: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command until it ends."""
        done = self.run_tool(*self.argv(*words, nobody=nobody), env=self.variables("nobody" if nobody else "root"), text=text)
        self.assertEqual(done.returncode, status, done.stderr)
        self.assertNotIn("Traceback", done.stderr)
        self.assertEqual(list(self.sessions.glob("*/rtunnel/*")), [])
        return done

    def start_it(self, *words: str) -> Process:
        return self.started(Process(self.argv(*words), env=self.variables()))


class TierTests(_Running):
    """What a command sees in each tier."""

    def environment(self, *words: str, **more: Any) -> dict[str, str]:
        found: dict[str, str] = json.loads(self.run_it(*words, "--", sys.executable, "-c", SCRIPT, **more).stdout)
        return found

    def test_none(self) -> None:
        """Variables lead to local ports and copies; what is no address or path stays."""
        found = self.environment("--isolate", "none", "--set", "A=b")
        self.assertRegex(found["DATABASE_URL"], r"^postgres://shop@127\.0\.0\.1:\d+/shop$")
        self.assertEqual(found["REDIS_HOST"], "127.0.0.1")
        self.assertNotEqual(found["REDIS_PORT"], "6379")
        self.assertEqual(found["CONFIG"], found["RTUNNEL_RUN_ROOT"] + "/config/app.yaml")
        self.assertEqual((found["TOKEN"], found["A"], found["RTUNNEL_RUN_HOST"]), ("two\nlines", "b", HOST))
        self.assertEqual((found["PATH"], found.get("HOME")), (os.environ["PATH"], os.environ.get("HOME")))
        script = 'cat "$CONFIG"; redis-cli -h "$REDIS_HOST" -p "$REDIS_PORT" ping'
        self.assertEqual(self.run_it("--isolate", "none", "--", "sh", "-c", script).stdout, "number: 1\nPONG\n")

    def test_names(self) -> None:
        """As root and as nobody: names, ports and paths are those of the pod, for the command alone."""
        script = (
            "cat /config/app.yaml /var/run/secrets/app/app.yaml; redis-cli -h redis.shop ping; "
            "redis-cli -h redis.shop.svc.cluster.local ping; id -u; grep CapEff /proc/self/status; getent hosts postgres"
        )
        for nobody in (True, False):
            done = self.run_it("--isolate", "names", "--", "sh", "-c", script, nobody=nobody)
            lines = done.stdout.splitlines()
            self.assertEqual(lines[:4], ["number: 1", "number: 1", "PONG", "PONG"], done.stderr)
            if nobody:
                self.assertEqual(lines[4:6], [str(pwd.getpwnam("nobody").pw_uid), "CapEff:\t0000000000000000"])
                self.assertIn("no listener for web:80: ports below 1024 need --isolate net", done.stderr)
            self.assertRegex(lines[6], r"^127\.77\.\d+\.\d+ +postgres")
            self.assertIn("/etc/ssl (it is there on this machine), /usr/bin (programs are there)", done.stderr)
        self.assertFalse(Path("/config").exists())
        self.assertNotIn("127.77.", Path("/etc/hosts").read_text())
        found = self.environment("--isolate", "names")
        self.assertEqual(found["DATABASE_URL"], "postgres://shop@postgres:5432/shop")
        self.assertEqual(found["CONFIG"], "/config/app.yaml")
        self.assertNotIn("HTTP_PROXY", found)

    def test_net(self) -> None:
        """A port below 1024 is there without root, and what the command listens on is there outside."""
        script = (
            'curl -sS --noproxy "*" http://web/; redis-cli -h redis.shop ping; curl -sS http://web/; '
            "curl -s --noproxy '*' --max-time 5 http://192.0.2.1/ || echo no way; grep CapEff /proc/self/status"
        )
        done = self.run_it("--", "sh", "-c", script, nobody=True)
        expected = f"web for {self.network.pod}\n"
        self.assertEqual(done.stdout, f"{expected}PONG\n{expected}no way\nCapEff:\t0000000000000000\n", done.stderr)
        self.assertIn("a service has a port below 1024, so the command has a network of its own", done.stderr)

    def test_ports(self) -> None:
        """What the command listens on in a network of its own is there for others, and so is what is asked for from the start."""
        asked, other, taken = free_port(), free_port(host="::1"), free_port()
        with socket.create_server(("127.0.0.1", taken)):
            script = (
                "import socket, sys, threading\n"
                f"ports = ('127.0.0.1', {asked}), ('::1', {other}), ('127.0.0.1', {taken})\n"
                "family = lambda host: socket.AF_INET6 if ':' in host else socket.AF_INET\n"
                "servers = [socket.create_server(at, family=family(at[0])) for at in ports]\n"
                "def serve(server):\n"
                "    while True:\n"
                "        with server.accept()[0] as c: c.sendall(c.recv(100).upper())\n"
                "for server in servers:\n"
                "    threading.Thread(target=serve, args=(server,)).start()\n"
                "print('listens', flush=True)\n"
            )
            run = self.start_it("--isolate", "net", "--publish", str(asked), "--", sys.executable, "-c", script)
            run.wait_for("listens")
            self.assertEqual(self.ask(asked, b"hello"), b"HELLO")
            run.wait_for(f"port {other} of the command is published at 127.0.0.1:{other}")
            self.assertEqual(self.ask(other, b"hello"), b"HELLO")
            run.wait_for(f"port {taken} of the command is not published: the published port cannot listen on 127.0.0.1:{taken}")
            run.send(signal.SIGTERM)
            self.assertEqual(run.wait(), 128 + signal.SIGTERM)
        for port in (asked, other):
            self.assertFalse(listening(port))
        self.assertNotIn("5432 of the command", run.output)
        with socket.create_server(("127.0.0.1", taken)):
            done = self.run_it("--isolate", "net", "--publish", str(taken), "--", "true", status=1)
            self.assertIn(f"the published port cannot listen on 127.0.0.1:{taken}", done.stderr)

    def test_postgres(self) -> None:
        """Psql by the name of the service."""
        data = self.postgres(self.network)
        query = ("-U", "postgres", "-h", "postgres", "-Atqc", "select 1")
        wait_until(lambda: "ready to accept connections" in data.output, data.output)
        for tier in ("names", "net"):
            done = self.run_it("--isolate", tier, "--", needed("psql"), *query, nobody=True)
            self.assertEqual(done.stdout, "1\n", done.stderr)


class ForbiddenTests(_Running):
    """Where the system forbids namespaces: a line names the setting, and the command runs without."""

    SCRIPT = 'cat "$CONFIG"; redis-cli -h "$REDIS_HOST" -p "$REDIS_PORT" ping; curl -sS http://web/; exit 5'

    def forbidden(self, words: str, *prefix: str) -> None:
        argv = self.argv("--", "sh", "-c", self.SCRIPT)
        environ = self.variables("nobody")
        done = self.run_tool(*as_nobody(), *prefix, *argv, env=environ)
        self.assertEqual((done.stdout, done.returncode), (f"number: 1\nPONG\nweb for {self.network.pod}\n", 5), done.stderr)
        self.assertEqual(done.stderr.count("not isolated: unshare: "), 1)
        self.assertIn(words, done.stderr)
        done = self.run_tool(*as_nobody(), *prefix, *self.argv("--isolate", "names", "--", "true"), env=environ)
        self.assertEqual(done.returncode, 1)
        self.assertIn("cannot be isolated: unshare: ", done.stderr)
        self.assertIn(words, done.stderr)

    def test_seccomp(self) -> None:
        prefix = (sys.executable, str(ROOT / "tests" / "support" / "forbidding.py"))
        self.forbidden("a seccomp profile, as containers have it", *prefix)

    def test_setting(self) -> None:
        """``user.max_user_namespaces``, in a user namespace that has a value of its own."""
        script = 'echo 0 >/proc/sys/user/max_user_namespaces; exec setpriv --bounding-set=-all --inh-caps=-all "$@"'
        words = "user.max_user_namespaces is 0; set it to 1000 for example"
        self.forbidden(words, needed("unshare"), "--user", "--map-root-user", "sh", "-c", script, "sh")


class LifeTests(_Running):
    """How a run begins and ends."""

    def test_status_and_input(self) -> None:
        self.assertEqual(self.run_it("--", "sh", "-c", "cat; exit 7", status=7, text="in\n").stdout, "in\n")
        self.assertIn("no-such-program: command not found", self.run_it("--", "no-such-program", status=127).stderr)
        broken = self.sessions / "broken"
        broken.write_text("\0")
        broken.chmod(0o755)
        self.assertIn(f"{broken}: Exec format error", self.run_it("--", str(broken), status=126).stderr)
        self.assertIn("no command; write it after --", self.run_it(status=1).stderr)
        self.assertIn("forbidden", self.run_tool(*self.argv("--", "true"), env={"RTUNNEL_AUTH": "bob:secret of bob"}).stderr)
        done = self.run_it(
            "--cover", "/etc/ssl", "--unset", "WEB", "--", "sh", "-c", "cat /etc/ssl/app.yaml; echo $WEB", nobody=True
        )
        self.assertEqual(done.stdout, "number: 1\n\n")

    def test_little(self) -> None:
        """What the user may not have is said, and the command runs; a folder of the user's own keeps the files."""
        copy = self.sessions / "copy"
        self.assertEqual(self.run_it("--files", str(copy), "--", "cat", "/config/app.yaml").stdout, "number: 1\n")
        self.assertEqual((copy / "config" / "app.yaml").read_text(), "number: 1\n")
        (self.folder / "permissions").write_text(f"bind pod {HOST}\nenv alice {HOST}\n")

        def little() -> bool:
            done = self.run_it("--", "sh", "-c", "echo $DATABASE_URL; test -e /config || echo no files")
            url = "postgres://shop@postgres:5432/shop"
            said = all(f"no {what} of the pod: " in done.stderr for what in ("files", "services"))
            return said and done.stdout == f"{url}\nno files\n"

        wait_until(little, "the permissions are those of the file", 60)

    def test_changes(self) -> None:
        """Files are brought up to date where the command sees them, and it is started again where that is asked for."""
        script = "cat /config/app.yaml; echo begun; sleep 100"
        run = self.start_it("--restart-on-change", "--isolate", "names", "--", "sh", "-c", script)
        run.wait_for("begun")
        self.write(2)
        run.wait_for("number: 2")
        run.wait_for("begun", 2)
        run.send(signal.SIGTERM)
        self.assertEqual(run.wait(), 128 + signal.SIGTERM)
        self.assertEqual(run.output.count("number: 1"), 1)

    def test_killed(self) -> None:
        """Nothing runs on; the folder with the files is removed by the next run."""
        run = self.start_it("--isolate", "net", "--", "sh", "-c", "echo me $$; sleep 100; echo more")
        run.wait_for("me ")
        command = int(run.output.split("me ")[1].split()[0])
        run.send(signal.SIGKILL)
        run.wait()
        wait_until(lambda: not Path(f"/proc/{command}").exists(), "the command ends")
        (left,) = self.session().glob("rtunnel/run-*")
        self.assertEqual(left.stat().st_mode & 0o777, 0o700)
        self.assertTrue(list(left.rglob("app.yaml")))
        self.run_it("--", "true")

    def test_lost_link(self) -> None:
        """It is shown, and connected again; the command goes on."""
        run = self.start_it(
            "--isolate",
            "names",
            "--",
            "sh",
            "-c",
            "trap 'redis-cli -h redis.shop ping' HUP; echo begun; cat /dev/zero >/dev/null & while :; do wait; done",
        )
        run.wait_for("begun")
        argv = self.server.argv
        self.server.send(signal.SIGKILL)
        run.wait_for("no link to 127.0.0.1")
        self.server = self.started(Process(argv))
        run.wait_for("is there again")
        self.pod.wait_for("is known to others as", 2)
        run.send(signal.SIGHUP)
        run.wait_for("PONG")
        run.send(signal.SIGTERM)
        self.assertEqual(run.wait(), 128 + signal.SIGTERM)
