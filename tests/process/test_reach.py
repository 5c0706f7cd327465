"""``rtunnel reach`` with real processes: a pod in a network namespace, services that only it reaches, programs that use them."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import subprocess
import sys
from pathlib import Path
from shutil import which
from typing import Self
from unittest import SkipTest

import httpx

from rtunnel.wire.proxy_datagrams import take_datagram, wrap_datagram
from tests.process.test_users import HOST, _Case, user_line
from tests.support.pod_network import DOMAIN, PodNetwork
from tests.support.processes import Process, free_port, listening, needed, rtunnel, wait_until
from tests.support.services import EchoService

USERS = ("pod", "alice", "bob")
PERMISSIONS = f"bind pod {HOST}\nreach alice {HOST}\nbind bob {HOST}\n"
POSTGRES_BIN = "/usr/lib/postgresql"
CONNECT_TIMEOUT = 4
"""Seconds after which the client in the pod gives a connect up."""


class SocksDatagrams:
    """A program that sends datagrams through the proxy (RFC 1928 section 7).

    :param proxy: ADDRESS:PORT.
    """

    def __init__(self, proxy: str) -> None:
        host, _, port = proxy.rpartition(":")
        self._connection = socket.create_connection((host, int(port)), timeout=40)
        self._connection.sendall(b"\x05\x01\x00\x05\x03\x00\x01\0\0\0\0\0\0")
        with self._connection.makefile("rb") as answers:
            reply = answers.read(12)
        assert reply[:6] == b"\x05\x00\x05\x00\x00\x01", reply
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.settimeout(40)
        self._to = socket.inet_ntoa(reply[6:10]), int.from_bytes(reply[10:])

    def send(self, host: str, port: int, data: bytes) -> None:
        self._socket.sendto(wrap_datagram(host, port, data), self._to)

    def ask(self, host: str, port: int, data: bytes) -> bytes:
        """Send a datagram; the answer."""
        self.send(host, port, data)
        found = take_datagram(self._socket.recv(1000))
        assert found is not None and found[:2] == (host, port), found
        return found[2]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()
        self._socket.close()


class _Reaching(_Case):
    """A server with users; the pod's client and the command are started by the tests."""

    listen = "127.0.0.1"
    permissions = PERMISSIONS

    def setUp(self) -> None:
        super().setUp()
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        (self.folder / "users").write_text("".join(user_line(user, f"secret of {user}") for user in USERS))
        (self.folder / "permissions").write_text(self.permissions)
        self.server = self.started(
            rtunnel(
                *("server", "--listen", f"{self.listen}:{self.tunnel_port}", "--entrypoint", f"127.0.0.1:{self.port}"),
                *("--route", f"{HOST}={self.tunnel}", "--users", str(self.folder / "users")),
                *("--permissions", str(self.folder / "permissions")),
            )
        )
        wait_until(lambda: listening(self.port), f"the server listens\n{self.server.output}")

    def client(self, rules: str, server: str = "127.0.0.1", network: PodNetwork | None = None) -> Process:
        """The client in the pod, which has joined."""
        argv = [
            *(sys.executable, "-m", "rtunnel", "client", "--server", f"{server}:{self.tunnel_port}", "--tunnel", self.tunnel),
            *("--target", f"127.0.0.1:{self.service.port}", "--reach", rules, "--backoff-min", "50ms"),
            *("--connect-timeout", f"{CONNECT_TIMEOUT}s"),
        ]
        env = {"RTUNNEL_AUTH": "pod:secret of pod"}
        client = self.started(Process(argv, env=env) if network is None else network.in_pod(*argv, env=env))
        client.wait_for("is known to others as")
        return client

    def reach(self, *more: str, user: str = "alice", ready: bool = True) -> Process:
        reach = self.started(
            rtunnel(
                *("reach", HOST, "--server", f"127.0.0.1:{self.tunnel_port}", "--tunnel", self.tunnel, *more),
                env={"RTUNNEL_AUTH": f"{user}:secret of {user}"},
            )
        )
        if ready:
            reach.wait_for("reaching what the pod of")
        return reach

    def run_tool(
        self, *argv: str, env: dict[str, str] | None = None, text: str = "", timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run a program to its end, with this environment and more."""
        full = {**os.environ, **(env or {})}
        return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=timeout, input=text, env=full)

    def redis(self, network: PodNetwork) -> None:
        """Start Redis, where the services are."""
        argv = (needed("redis-server"), "--bind", network.addresses["redis"], "--protected-mode", "no", "--save", "")
        redis = self.started(network.at_services(*argv, "--dir", str(self.folder)))
        redis.wait_for("Ready to accept connections")

    def ask(self, port: int, data: bytes) -> bytes:
        with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
            connection.sendall(data)
            return connection.recv(100)

    def postgres(self, network: PodNetwork) -> Process:
        """PostgreSQL, where the services are."""
        found = sorted(Path(POSTGRES_BIN).glob("*/bin/initdb")) if not which("initdb") else [Path(str(which("initdb")))]
        runuser = which("runuser")
        if not found or runuser is None or which("psql") is None:
            raise SkipTest("RTUNNEL_TEST_POSTGRES: there is no PostgreSQL server here (apt-get install postgresql)")
        programs = found[-1].parent
        folder = Path("/tmp") / f"rtunnel-postgres-{os.getpid()}-{free_port()}"
        as_postgres = (runuser, "-u", "postgres", "--")
        self.addCleanup(subprocess.run, ["rm", "-rf", str(folder)], check=True)
        made = self.run_tool(*as_postgres, str(programs / "initdb"), "-D", str(folder), "-A", "trust", "-U", "postgres", "-N")
        self.assertEqual(made.returncode, 0, made.stderr)
        with (folder / "pg_hba.conf").open("a") as hba:
            hba.write("host all all 0.0.0.0/0 trust\n")
        return self.started(
            network.at_services(
                *(*as_postgres, str(programs / "postgres"), "-D", str(folder), "-c", "fsync=off"),
                *("-c", f"listen_addresses={network.addresses['postgres']}", "-c", f"unix_socket_directories={folder}"),
            )
        )


class CommandTests(_Reaching):
    """The command on loopback."""

    def setUp(self) -> None:
        super().setUp()
        self.echo = EchoService()
        self.addCleanup(self.echo.stop)
        self.port_of_proxy = free_port()
        self.where = f"127.0.0.1:{self.port_of_proxy}"

    def test_descriptors(self) -> None:
        """Each connection of a program takes one: it has as many as the system allows, and not those that shells give."""
        self.client("127.0.0.1:1")
        limited = ("bash", "-c", 'ulimit -Sn 200 && exec "$@"', "bash", sys.executable, "-m", "rtunnel")
        where = ("reach", HOST, "--server", f"127.0.0.1:{self.tunnel_port}", "--tunnel", self.tunnel, "--proxy", self.where)
        reach = self.started(Process([*limited, *where], env={"RTUNNEL_AUTH": "alice:secret of alice"}))
        reach.wait_for("reaching what the pod of")
        soft, hard = resource.prlimit(reach.pid, resource.RLIMIT_NOFILE)
        self.assertEqual(soft, hard)
        self.assertGreater(hard, 200)

    def test_lost_and_back(self) -> None:
        """A link that is lost is shown, and is there again with the server; the command ends by a signal, cleanly."""
        self.client(f"127.0.0.1:{self.echo.port}")
        local = free_port()
        reach = self.reach("--forward", f"{local}:127.0.0.1:{self.echo.port}")
        self.assertEqual(self.ask(local, b"hello"), b"hello")
        reach.send(signal.SIGTERM)
        self.assertEqual(reach.wait(), 128 + signal.SIGTERM)
        self.assertNotIn("Traceback", reach.output)
        self.server.wait_for(f"127.0.0.1:{self.echo.port} had 1 connections, 5 bytes there")
        self.server.wait_for("pod link of alice to tunnel")

    def test_a_server_that_is_killed(self) -> None:
        self.client(f"127.0.0.1:{self.echo.port}")
        local = free_port()
        reach = self.reach("--forward", f"127.0.0.1:{local}:127.0.0.1:{self.echo.port}")
        argv = self.server.argv
        self.server.send(signal.SIGKILL)
        reach.wait_for("no link to 127.0.0.1")
        self.server = self.started(Process(argv))
        # the waits between its attempts have become long where the server took its time
        wait_until(lambda: "is there again" in reach.output, f"the link is back\n{reach.output}", 60)

        def answers() -> bool:
            with contextlib.suppress(OSError):
                return self.ask(local, b"hello") == b"hello"
            return False

        wait_until(answers, "the forward works again")

    def test_rights(self) -> None:
        """Who may join the tunnel may not reach its pod; they are told, and the server's log has it."""
        bob = self.reach("--proxy", self.where, user="bob", ready=False)
        self.assertEqual(bob.wait(), 1)
        self.assertIn("rtunnel reach: the server refused: forbidden (status 3); ", bob.output)
        self.assertIn("its permissions allow the user bob nothing with the pod", bob.output)
        self.assertNotIn("Traceback", bob.output)

    def test_withdrawn(self) -> None:
        """The permissions file changes: connections end, and new ones are refused."""
        self.client(f"127.0.0.1:{self.echo.port}")
        local = free_port()
        reach = self.reach("--forward", f"{local}:127.0.0.1:{self.echo.port}")
        with socket.create_connection(("127.0.0.1", local), timeout=20) as connection:
            connection.sendall(b"hello")
            self.assertEqual(connection.recv(100), b"hello")
            (self.folder / "permissions").write_text(f"bind pod {HOST}\n")
            with contextlib.suppress(ConnectionResetError):
                self.assertEqual(connection.recv(100), b"")
        self.server.wait_for("revoking the session of alice")
        reach.wait_for("nothing with the pod")

    def test_list(self) -> None:
        """For those with the right."""
        self.client("postgres:5432,*.shop.svc:80-90")
        listed = self.reach("--list", ready=False)
        self.assertEqual(listed.wait(), 0, listed.output)
        self.assertIn("postgres:5432\n*.shop.svc:80-90\n", listed.output)
        bob = self.reach("--list", user="bob", ready=False)
        self.assertEqual(bob.wait(), 1)
        self.assertNotIn("postgres", bob.output)

    def test_what_is_not_the_pods(self) -> None:
        """It is reached from this machine, or with --strict not at all."""
        self.client("postgres:5432,*:81")
        url = f"http://127.0.0.1:{self.service.port}/"
        reach = self.reach("--proxy", self.where)
        done = self.run_tool(needed("curl"), "-sS", "-o", "/dev/null", "-w", "%{http_code}", "-x", f"socks5h://{self.where}", url)
        self.assertEqual((done.stdout, done.stderr), ("200", ""))
        for at, words in (
            (f"http://127.0.0.1:{free_port()}/", r"cannot be reached from this machine \(.*refused.*\), and no rule of the client"),
            ("http://nobody.invalid/", "nobody.invalid:80 cannot be reached from this machine"),
            ("http://postgres/", r"no rule of the client in the pod \(--reach\) is for postgres:80"),
        ):
            done = self.run_tool(needed("curl"), "-sS", "-x", f"http://{self.where}", at)
            self.assertRegex(done.stdout, words)
        self.assertNotIn("Traceback", reach.output)
        strict = f"127.0.0.1:{free_port()}"
        self.reach("--proxy", strict, "--strict")
        done = self.run_tool(needed("curl"), "-sS", "-x", f"http://{strict}", url)
        self.assertIn("no rule of the client in the pod (--reach) is for 127.0.0.1", done.stdout)

    def test_mistakes(self) -> None:
        """What cannot be meant is said at once."""
        for arguments, words in (
            (("--proxy", "0.0.0.0:1080"), "is not on loopback"),
            (("--proxy", "http://proxy:3128"), "a proxy on the way to the server is given with --proxy-file or RTUNNEL_PROXY"),
            (("--forward", "5432"), "is no forward"),
            (("--list", "--proxy", "127.0.0.1:0"), "leave --proxy and --forward out"),
            (("--forward", "192.0.2.1:5432:postgres:5432"), "is not on loopback"),
            (("--forward", f"{self.port}:a:1"), "cannot listen on"),
        ):
            reach = self.reach(*arguments, ready=False)
            self.assertEqual(reach.wait(), 1, arguments)
            self.assertIn(words, reach.output)

    def test_no_pod(self) -> None:
        """The client of a laptop is none."""
        self.reach("--proxy", self.where)
        done = self.run_tool(needed("curl"), "-sS", "-x", f"socks5h://{self.where}", "http://a/")
        self.assertIn("SOCKS5", done.stderr)
        done = self.run_tool(needed("curl"), "-sS", "-x", f"http://{self.where}", "http://a/")
        self.assertIn("no client that offers it has joined the tunnel", done.stdout)


class PodTests(_Reaching):
    """Names of a cluster's DNS, services that only the pod reaches, and the tools that people use."""

    listen = "0.0.0.0"

    def setUp(self) -> None:
        self.network = PodNetwork()
        self.addCleanup(self.network.close)
        super().setUp()
        addresses = {"evil": "169.254.169.254", "inner": "127.0.0.1", "itself": self.network.pod, "gone": "192.0.2.1"}
        self.started(self.network.serve(addresses)).wait_for("ready")
        rules = "postgres:5432,redis.shop.svc:6379,*.shop.svc:80,web:*,web:81,*:8000,evil:80,gone:80,silent.test:80,*:53/udp"
        self.pod = self.client(rules, self.network.gateway, self.network)
        self.where = f"127.0.0.1:{free_port()}"

    def curl(self, *argv: str) -> subprocess.CompletedProcess[str]:
        return self.run_tool(needed("curl"), "-sS", "--max-time", "40", *argv)

    def test_http(self) -> None:
        """Each protocol of the proxy, with names that only the pod's DNS knows; the service sees the pod."""
        self.reach("--proxy", self.where)
        for name in ("web", "web.shop.svc", "web.shop.svc.cluster.local"):
            expected = f"{name} for {self.network.pod}\n"
            denied = name.endswith("local")
            for proxy in (("-x", f"socks5h://{self.where}"), ("-x", f"http://{self.where}"), ("-p", "-x", f"http://{self.where}")):
                done = self.curl(*proxy, f"http://{name}/")
                if denied:
                    self.assertNotIn(expected, done.stdout)
                else:
                    self.assertEqual(done.stdout, expected, (proxy, done.stderr))
        done = self.curl("-x", f"socks4a://{self.where}", "http://web/")
        self.assertEqual(done.stdout, f"web for {self.network.pod}\n")
        done = self.curl("-x", f"http://{self.where}", "--data-binary", "x" * 100_000, "http://web/")
        self.assertEqual(done.stdout, f"web for {self.network.pod}\n")
        with httpx.Client(proxy=f"http://{self.where}", trust_env=False, timeout=40) as client:
            for _ in range(2):
                self.assertEqual(client.get("http://web.shop.svc/").text, f"web.shop.svc for {self.network.pod}\n")
        script = "import urllib.request as r; print(r.urlopen('http://web.shop.svc/').read().decode())"
        done = self.run_tool(sys.executable, "-c", script, env={"http_proxy": f"http://{self.where}", "no_proxy": ""})
        self.assertIn(f"web.shop.svc for {self.network.pod}", done.stdout)

    def test_denied(self) -> None:
        """Why is told apart: by the code of SOCKS, and in words by HTTP; the pod's log has the user."""
        self.reach("--proxy", self.where, "--strict")
        for url, code, words in (
            ("http://postgres:5433/", 2, "no rule of the client in the pod (--reach) is for postgres:5433"),
            ("http://evil/", 2, "evil:80 is at 169.254.169.254, which is a metadata service"),
            ("http://inner:8000/", 2, "inner:8000 is at 127.0.0.1, which is the loopback of the pod"),
            ("http://itself:8000/", 2, f"is at {self.network.pod}, which is the pod itself"),
            ("http://localhost:8000/", 2, "localhost:8000 is the loopback of the pod"),
            ("http://169.254.169.254:8000/", 2, "is a metadata service of the cloud"),
            ("http://kubernetes.default.svc:8000/", 2, "is the API of Kubernetes"),
            ("http://nothing.shop.svc/", 4, 'the DNS of the pod knows no "nothing.shop.svc"'),
            ("http://silent.test/", 4, 'the DNS of the pod gave no answer for "silent.test"'),
            ("http://web:81/", 5, "web:81 refused the connection: nothing listens there"),
            ("http://gone/", 3, "there is no route from the pod to gone:80"),
        ):
            done = self.curl("-x", f"socks5h://{self.where}", url)
            self.assertRegex(done.stderr, rf"\({code}\)", (url, done.stderr))
            done = self.curl("-x", f"http://{self.where}", url)
            self.assertIn(words, done.stdout, url)
        self.pod.wait_for("alice cannot reach evil:80: evil:80 is at 169.254.169.254")
        self.server.wait_for("evil:80 refused: evil:80 is at 169.254.169.254")

    def test_no_answer(self) -> None:
        """A service that says nothing is none that refuses."""
        self.reach("--proxy", self.where, "--strict")
        done = self.curl("-x", f"socks5h://{self.where}", "http://web:83/")
        self.assertRegex(done.stderr, r"\(6\)")
        self.pod.wait_for("alice cannot reach web:83: web:83 did not answer in time")

    def test_pages(self) -> None:
        """What a browser sends for a page, also under a name that the page's owner has pointed to 127.0.0.1."""
        self.reach("--proxy", self.where)
        for argv in (
            (f"http://{self.where}/",),
            ("-H", "Host: evil.example", f"http://{self.where}/"),
            ("-H", "Origin: http://evil.example", "-X", "POST", "-d", "x", f"http://{self.where}/"),
            ("-x", f"http://{self.where}", "-H", "Origin: http://evil.example", "http://web/"),
        ):
            done = self.curl("-i", *argv)
            self.assertRegex(done.stdout, r"^HTTP/1.1 40[03] ")
            self.assertNotIn("access-control", done.stdout.lower())
            self.assertNotIn(" for ", done.stdout.rpartition("\n\n")[2].partition("web page")[0].replace("for a proxy", ""))

    def test_datagrams(self) -> None:
        """A program asks the cluster's DNS, through the proxy, for a name that only the pod knows."""
        self.reach("--proxy", self.where)
        query = b"\x07\x08\x01\0\0\1\0\0\0\0\0\0\x03web\x04shop\x03svc\x07cluster\x05local\0\0\1\0\1"
        with SocksDatagrams(self.where) as socks:
            for to in ("dns", "dns.shop.svc"):
                answer = socks.ask(to, 53, query)
                self.assertEqual((answer[:2], answer[-4:]), (query[:2], socket.inet_aton(self.network.addresses["web"])))
            socks.send("evil", 53, query)
            socks.send("dns", 54, query)
            answer = socks.ask("dns", 53, query)
            self.assertEqual(answer[-4:], socket.inet_aton(self.network.addresses["web"]))
        self.pod.wait_for("alice reaches dns:53/udp")
        self.pod.wait_for("alice cannot reach evil:53/udp: evil:53/udp is at 169.254.169.254, which is a metadata service")
        self.pod.wait_for("alice cannot reach dns:54/udp: no rule")
        self.server.wait_for(": dns:53/udp")

    def test_redis(self) -> None:
        self.redis(self.network)
        port = free_port()
        self.reach("--forward", f"{port}:redis.shop.svc:6379")
        cli = (needed("redis-cli"), "-h", "127.0.0.1", "-p", str(port))
        self.assertEqual(self.run_tool(*cli, "set", "a", "b").stdout, "OK\n")
        self.assertEqual(self.run_tool(*cli, "get", "a").stdout, "b\n")
        done = self.run_tool(*cli, "--pipe", text="".join(f"SET k{number} {'v' * 100}\r\n" for number in range(20_000)))
        self.assertIn("errors: 0, replies: 20000", done.stdout)

    def test_postgres(self) -> None:
        """Psql by a forward, with 10 MB in each direction."""
        data = self.postgres(self.network)
        port = free_port()
        self.reach("--forward", f"{port}:postgres:5432", "--proxy", self.where)
        psql = (needed("psql"), "-h", "127.0.0.1", "-p", str(port), "-U", "postgres", "-Atq")
        wait_until(lambda: self.run_tool(*psql, "-c", "select 1").stdout == "1\n", f"PostgreSQL answers\n{data.output}")
        done = self.run_tool(*psql, "-c", "select client_addr, repeat('x', 10) from pg_stat_activity where pid = pg_backend_pid()")
        self.assertIn("|xxxxxxxxxx", done.stdout or str(done))
        self.assertIn(self.run_tool(*psql, "-c", "select inet_client_addr()").stdout.strip(), (self.network.pod, ""))
        done = self.run_tool(*psql, "-c", "select length(repeat('x', 10000000))", "-c", "select repeat('x', 10000000)")
        self.assertEqual(len(done.stdout), len("10000000\n") + 10_000_001, done.stderr)
        done = self.run_tool(*psql, "-c", "create table t (v text)", "-c", r"\copy t from stdin", text="x" * 10_000_000 + "\n")
        self.assertEqual(self.run_tool(*psql, "-c", "select length(v) from t").stdout, "10000000\n", done.stderr)


__all__ = ["DOMAIN"]
