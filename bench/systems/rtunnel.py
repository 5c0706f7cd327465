"""rtunnel itself: of this work tree or as installed, and another one beside it (``RTUNNEL_BENCH_BEFORE``)."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

from bench import compiled, nginx
from bench.proc import LOOPBACK, Process
from bench.service import project_environment
from bench.stage import BYSTANDER, CLIENT, HOST, INGRESS, SERVER, VISITOR, Stage
from bench.systems.base import ACCESS_LOG, TUNNEL, Ability, Setup, filtering, first_line, other_rules, program, variable_missing
from bench.systems.tunnel import PATH, VARIANT_CASES, TunnelSystem

_BEFORE = "RTUNNEL_BENCH_BEFORE"

#: Prints where the package is.
_WHERE = "import rtunnel; print(rtunnel.__file__)"


class Rtunnel(TunnelSystem):
    """Both ends with default settings, their modules compiled as in a wheel."""

    # datagrams have no entrypoint, they need a visitor
    can = frozenset(Ability) - {Ability.DATAGRAMS}
    #: Under the tunnel, as in ``tunnel+ws``, and what it asks of each end, as keys of a URL or as options.
    transport = "ws"
    server_keys = ""
    server_options: tuple[str, ...] = ()
    client_keys = ""
    #: Options before the role.
    options: tuple[str, ...] = ()

    def absent(self) -> str | None:
        return None if importlib.util.find_spec("rtunnel") else "the package rtunnel is not installed"

    def version(self) -> str:
        python, environment = self.python(), self.environment()
        version = first_line([python, "-m", "rtunnel", "--version"], env=environment)
        package = Path(first_line([python, "-c", _WHERE], "__init__", environment)).parent
        known = ", ".join(filter(None, (commit_of(package), how_it_runs(python, environment))))
        return f"{version} ({known})" if known else version

    def python(self) -> str:
        """The interpreter."""
        return sys.executable

    def environment(self) -> dict[str, str]:
        """Variables with which the interpreter finds the package."""
        return project_environment(compiled.tree())

    def start_server(self, setup: Setup, stage: Stage, tunnel_port: int, entry_port: int) -> None:
        rules = other_rules(max(setup.rules, setup.tunnels))
        if rules:
            # Too many for the query of one URL.
            argv = ["--listen", f"{self.transport}://127.0.0.1:{tunnel_port}{PATH}", *self.server_options]
            argv += ["--entrypoint", f"127.0.0.1:{entry_port}"]
            for host, tunnel in [("bench.local", TUNNEL), *rules]:
                argv += ["--route", f"{host}={tunnel}"]
            if setup.trusted:
                argv += ["--trusted-proxy", LOOPBACK]
        else:
            query = f"entrypoint=127.0.0.1:{entry_port}&tunnel=bench.local:{TUNNEL}&path={PATH}{self.server_keys}"
            if setup.trusted:
                query += f"&trustedProxy={LOOPBACK}"
            argv = ["-L", f"tunnel+{self.transport}://127.0.0.1:{tunnel_port}?{query}"]
        if setup.access_log is not None:
            argv += ["--access-log", ACCESS_LOG, "--access-log-format", setup.access_log]
        stage.start(SERVER, self._command("server", *argv), self.environment())

    def start_clients(self, setup: Setup, stage: Stage, tunnel_port: int) -> None:
        server = f"{self._server(tunnel_port)}&tunnel.weight=1"
        for target in setup.targets:
            connectors = ["-L", f"{'rudp' if setup.datagrams else 'rtcp'}://:0/127.0.0.1:{target}"] * setup.connectors
            stage.start(CLIENT, self._command("client", *connectors, "-F", server), self.environment())
        if setup.filters:
            config = stage.write("people.yaml", self._people(setup, tunnel_port))
            people = stage.start(BYSTANDER, self._command("client", "-c", config), self.environment())
            stage.wait_words(people, "is known to others as", count=len(filtering(setup.filters)))
        if setup.tunnels > 1:
            argv = [sys.executable, "-m", "bench.fleet", str(tunnel_port), str(setup.tunnels - 1)]
            stage.wait_words(stage.start(BYSTANDER, argv, project_environment()), "fleet ready")

    def _people(self, setup: Setup, tunnel_port: int) -> str:
        """The configuration file of a client with filters, which gets no request."""
        lines = [f"server: {self.transport}://127.0.0.1:{tunnel_port}{PATH}", f"tunnel: {TUNNEL}", "connectors:"]
        for filters in filtering(setup.filters):
            lines += [f"- target: :{setup.targets[0]}", "  intercepts:", *(f'  - "{text}"' for text in filters)]
        return "\n".join(lines) + "\n"

    def start_visitor(self, setup: Setup, stage: Stage, tunnel_port: int, port: int) -> None:
        argv = self._command(
            "visitor", "-L", f"{'udp' if setup.datagrams else 'tcp'}://127.0.0.1:{port}/{HOST}", "-F", self._server(tunnel_port)
        )
        stage.start(VISITOR, argv, self.environment())

    def _server(self, tunnel_port: int) -> str:
        query = f"path={PATH}&tunnel.id={TUNNEL}{self.client_keys}"
        return f"tunnel+{self.transport}://127.0.0.1:{tunnel_port}?{query}"

    def _command(self, role: str, *arguments: str) -> list[str]:
        return [self.python(), "-m", "rtunnel", *self.options, role, *arguments]


class RtunnelInterpreted(Rtunnel):
    """The same without compiled modules: as where there was no C compiler."""

    cases = VARIANT_CASES

    def environment(self) -> dict[str, str]:
        return project_environment()


class RtunnelWss(Rtunnel):
    """The same over WebSocket with TLS: measured where the bytes of the tunnel count.

    The certificate is not verified: it is made at the start of the server, and costs a handshake nothing worth measuring.
    """

    # the fleet speaks plain WebSocket
    can = Rtunnel.can - {Ability.TUNNELS}
    cases = frozenset({"k1", "k64", "down", "up"})
    transport = "wss"
    server_keys = "&selfSigned=true"
    server_options = ("--self-signed",)
    client_keys = "&secure=false"


class RtunnelEpoll(Rtunnel):
    """The same on Twisted's own epoll reactor."""

    cases = VARIANT_CASES
    options = ("--reactor", "epoll")


class RtunnelShared(Rtunnel):
    """A server that shares its tunnels with others through a Redis, alone: what that costs a connector of its own."""

    # the fleet and the filters have rules of their own, which are not those of a second server
    can = frozenset({Ability.PAIR})
    cases = VARIANT_CASES

    def absent(self) -> str | None:
        if shutil.which("redis-server") is None:
            return "redis-server is not installed"
        return super().absent()

    def start_server(self, setup: Setup, stage: Stage, tunnel_port: int, entry_port: int) -> None:
        self.start_member(setup, stage, self.start_redis(stage), tunnel_port, entry_port)

    def start_redis(self, stage: Stage) -> int:
        """Start what the servers share, and return its port."""
        port = stage.port()
        stage.start(BYSTANDER, ["redis-server", "--port", str(port), "--bind", LOOPBACK, "--save", "", "--appendonly", "no"])
        stage.wait_listening(port)
        stage.write("secret", "the secret of the servers of a benchmark")
        return port

    def start_member(self, setup: Setup, stage: Stage, redis: int, tunnel_port: int, entry_port: int) -> Process:
        """Start one of the servers."""
        argv = ["--listen", f"{self.transport}://127.0.0.1:{tunnel_port}{PATH}", "--entrypoint", f"127.0.0.1:{entry_port}"]
        argv += ["--route", f"{HOST}={TUNNEL}", "--registry", f"redis://127.0.0.1:{redis}"]
        argv += ["--peer-listen", f"127.0.0.1:{stage.port()}", "--peer-secret-file", "secret"]
        if setup.trusted:
            argv += ["--trusted-proxy", LOOPBACK]
        return stage.start(SERVER, self._command("server", *argv), self.environment())


class RtunnelRemote(RtunnelShared):
    """Two servers: visitors come to one of them, the clients are attached to the other one."""

    def start_server(self, setup: Setup, stage: Stage, tunnel_port: int, entry_port: int) -> None:
        redis, other_tunnel_port, other_entry_port = self.start_redis(stage), stage.port(), stage.port()
        self.start_member(setup, stage, redis, tunnel_port, other_entry_port)
        self.start_member(setup, stage, redis, other_tunnel_port, entry_port)
        stage.wait_listening(other_tunnel_port, other_entry_port)


class RtunnelBalanced(RtunnelShared):
    """Servers behind an nginx that spreads visitors over them, with a client at each: any of them serves any client.

    :param servers: how many.
    """

    cases = frozenset({"k64"})

    def __init__(self, name: str, title: str, servers: int) -> None:
        super().__init__(name, title)
        self._servers = servers

    def start(self, setup: Setup, stage: Stage) -> int:
        redis = self.start_redis(stage)
        ports = [(stage.port(), stage.port()) for _ in range(self._servers)]
        members = [self.start_member(setup, stage, redis, *pair) for pair in ports]
        for tunnel_port, entry_port in ports:
            stage.wait_listening(tunnel_port, entry_port)
            self.start_clients(setup, stage, tunnel_port)
        for member in members if self._servers > 1 else ():
            stage.wait_words(member, "the link to server", count=self._servers - 1)
        port = stage.port()
        config = stage.write("balanced.conf", nginx.balanced_config(port, [entry_port for _, entry_port in ports], HOST))
        stage.start(INGRESS, nginx.command(config))
        stage.wait_listening(port)
        stage.wait_answer(port)
        return port


class RtunnelWorkers(Rtunnel):
    """Two processes at one port, as one server; the client is attached to one of them."""

    can = frozenset({Ability.PAIR})
    cases = frozenset({"k64", "down", "up", "churn"})

    def start_server(self, setup: Setup, stage: Stage, tunnel_port: int, entry_port: int) -> None:
        argv = ["--listen", f"{self.transport}://127.0.0.1:{tunnel_port}{PATH}", "--entrypoint", f"127.0.0.1:{entry_port}"]
        argv += ["--route", f"{HOST}={TUNNEL}", "--workers", "2"]
        if setup.trusted:
            argv += ["--trusted-proxy", LOOPBACK]
        server = stage.start(SERVER, self._command("server", *argv), self.environment())
        stage.wait_words(server, "workers are ready")


class RtunnelBefore(Rtunnel):
    """Another rtunnel: the one that the Python of an environment has, which ``RTUNNEL_BENCH_BEFORE`` names.

    It is told what it has to do by gost's URLs, whose keys change least from one version to the next.
    """

    def absent(self) -> str | None:
        reason = variable_missing(_BEFORE)
        if reason is None and first_line([self.python(), "-c", _WHERE], "__init__", self.environment()) == "unknown":
            reason = f"the Python that {_BEFORE} names has no package rtunnel"
        return reason

    def version(self) -> str:
        return f"{super().version()}, {first_line([self.python(), '--version'])}"

    def python(self) -> str:
        return program(_BEFORE)

    def environment(self) -> dict[str, str]:
        # nothing of this tree
        return {"PYTHONPATH": "", "PYTHONDONTWRITEBYTECODE": "1"}


def how_it_runs(python: str, environment: dict[str, str]) -> str | None:
    """Whether the modules of a request's way are compiled or interpreted; None for a version that does not say so."""
    argv = [python, "-m", "rtunnel", "version"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False, env=os.environ | environment)
    words = done.stdout.split()[-1:]
    return words[0] if words and words[0] in ("compiled", "interpreted") else None


def commit_of(package: Path) -> str | None:
    """The commit of the work tree that a package is in, ``-dirty`` behind it when files have changed; None outside of any."""
    argv = ["git", "-C", str(package), "describe", "--always", "--dirty", "--exclude", "*"]
    if not os.path.isdir(package):
        return None
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
