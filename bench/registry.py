"""A shared registry with very many connectors: ``python -m bench.registry``.

A real redis-server, and a few servers, each a process with the registry's own code and nothing else: no links, no rows. They
publish connectors as real ones look: one in ten intercepts, all have a lease. Printed are the time until all know all, the time
until a join is known at the others while clients come and go, agreements, a cold start, a server that is killed, and what all that
takes.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from redis import Redis

from bench.proc import BenchError, wait_until
from rtunnel.registry.records import ConnectorRecord, LeaseRecord, ServerRecord
from rtunnel.settings import Address, ListenerSettings, PeerSettings, RegistryAddress, RegistrySettings, ServerSettings

__all__ = ["main"]

PATIENCE = 300.0
PAUSE = 0.1
"""Seconds between two looks."""
IDLE = 4.0
"""Seconds in which nothing happens."""
TUNNELS = 10
"""Connectors of one tunnel, on the average."""


# -- a server, in a process of its own


def _record(server: UUID, tunnels: Sequence[UUID]) -> ConnectorRecord:
    """A connector as real ones look."""
    number = random.getrandbits(32)
    name = f"developer{number % 100_000}@laptop-{number % 1000}"
    filters = (f"header:x-user=developer{number}",) if number % 10 == 0 else ()
    now = time.time()
    lease = LeaseRecord(
        id=f"{number:08x}",
        holder=name,
        name=name,
        reason="PROJ-1234",
        what=" or ".join(filters) or "weight 1",
        since=now,
        until=now + 8 * 3600,
        length=8 * 3600,
    )
    return ConnectorRecord(
        id=uuid4(),
        server=server,
        tunnel=random.choice(tunnels),
        name=name,
        peer=f"10.1.{number % 256}.{number // 256 % 256}:40123",
        filters=filters,
        instance=random.randbytes(8),
        since=now,
        lease=lease,
    )


class _Asked:
    """Does what the parent says, in lines of JSON, and answers."""

    def __init__(self, reactor: Any) -> None:
        self.reactor = reactor
        self.started = time.monotonic()
        self.longest_turn = 0.0

    def begin(self) -> None:
        """Start what there is."""
        raise NotImplementedError

    def run(self) -> None:
        self.begin()
        self.reactor.callInThread(self._listen)
        self.reactor.callLater(0, self._watch, time.perf_counter())
        self.reactor.run(installSignalHandlers=False)

    def _watch(self, due: float) -> None:
        """How long the reactor was busy with one thing."""
        now = time.perf_counter()
        self.longest_turn = max(self.longest_turn, now - due)
        self.reactor.callLater(0.005, self._watch, now + 0.005)

    def _listen(self) -> None:
        for line in sys.stdin:
            asked = json.loads(line)
            self.reactor.callFromThread(getattr(self, asked.pop("do")), **asked)
        self.reactor.callFromThread(self.reactor.stop)

    def _say(self, **what: Any) -> None:
        print(json.dumps(what), flush=True)

    def costs(self) -> dict[str, float]:
        """What it has taken so far."""
        return {
            "memory": int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"),
            "cpu": time.process_time(),
            "age": time.monotonic() - self.started,
            "turn": self.longest_turn,
        }


class _RealServer(_Asked):
    """A whole server, which has rows and links."""

    def __init__(self, settings: RegistrySettings) -> None:
        from rtunnel.__main__ import install_reactor

        install_reactor(None)
        from twisted.internet import reactor

        from rtunnel.registry.redis_registry import RedisRegistry
        from rtunnel.server.service import ServerService

        super().__init__(reactor)
        assert settings.address is not None
        local = Address("127.0.0.1", 0)
        listener = ListenerSettings(listen=local, entrypoints=(local,), direct=True)
        peer = PeerSettings(listen=local, secret_file=str(_secret(settings.address.path)))
        self.service = ServerService(
            ServerSettings(listeners=(listener,), peer=peer, registry=settings), reactor, RedisRegistry(settings, reactor)
        )

    def begin(self) -> None:
        from rtunnel.ops.memory import collect_rarely

        collect_rarely()
        self.service.startService()

    def state(self) -> None:
        assert self.service.replicas is not None
        rows = sum(peer.connectors for peer in self.service.replicas.remote.status())
        self._say(rows=rows, ready=self.service.ready, **self.costs())


class _Child(_Asked):
    """The registry of a server, and no more."""

    def __init__(self, settings: RegistrySettings, tunnels: int) -> None:
        from twisted.internet import reactor

        from rtunnel.metrics.stats import ServerStats
        from rtunnel.registry.redis_registry import RedisRegistry
        from rtunnel.server.peers.forwarding import Forwarding
        from rtunnel.server.peers.peer_listener import PeerListener
        from rtunnel.server.peers.trust import PeerTrust

        super().__init__(reactor)
        rng = random.Random(7)
        self.tunnels = [UUID(int=rng.getrandbits(128)) for _ in range(tunnels)]
        self.id = uuid4()
        self.registry = RedisRegistry(settings, reactor)
        # a real server links itself with it, and gets no answers
        assert settings.address is not None
        trust = PeerTrust(PeerSettings(secret_file=str(_secret(settings.address.path))), reactor)
        stats = ServerStats()
        self.peers = PeerListener(self.id, trust, Forwarding(lambda _: None, stats), stats, reactor)
        self.own: list[UUID] = []
        self.delays: list[float] = []
        self.measuring = False
        self.known = 0

    # the observer of the registry

    def server_up(self, server: ServerRecord) -> None: ...
    def server_changed(self, server: ServerRecord) -> None: ...
    def server_gone(self, server: UUID) -> None: ...
    def connector_changed(self, record: ConnectorRecord, former: ConnectorRecord) -> None: ...
    def told(self, sender: UUID, message: bytes) -> None: ...
    def availability(self, available: bool) -> None: ...

    def connector_up(self, record: ConnectorRecord) -> None:
        self.known += 1
        if self.measuring:
            self.delays.append(time.time() - record.since)

    def connector_gone(self, record: ConnectorRecord) -> None:
        self.known -= 1

    # what the parent asks

    def begin(self) -> None:
        bound = self.peers.listen(Address("127.0.0.1", 0))
        self.registry.start(ServerRecord(id=self.id, name=f"bench{os.getpid()}", address=str(bound)), self)

    def fill(self, count: int) -> None:
        """Publish some connectors, as they would join: not more than 200 in a turn."""
        for _ in range(min(count, 200)):
            self._join()
        if count > 200:
            self.reactor.callLater(0, self.fill, count - 200)

    def _join(self) -> None:
        record = _record(self.id, self.tunnels)
        self.own.append(record.id)
        self.registry.publish(record)

    def churn(self, rate: float, seconds: float) -> None:
        """Clients come and go."""
        self.measuring = True
        self.delays.clear()
        self.longest_turn = 0.0
        end = self.reactor.seconds() + seconds

        def step() -> None:
            if self.reactor.seconds() >= end:
                return
            self._join()
            self.registry.withdraw(self.own.pop(random.randrange(len(self.own))))
            self.reactor.callLater(random.expovariate(rate), step)

        step()

    def churned(self) -> None:
        self.measuring = False
        self._say(delays=self.delays, turn=self.longest_turn)

    def claim(self, count: int) -> None:
        """Agree on some connectors, one after the other."""
        took: list[float] = []

        def step(_: object = None) -> None:
            if len(took) >= count:
                self._say(took=took)
                return
            begun = time.perf_counter()
            record = _record(self.id, self.tunnels)

            def agreed(result: Any) -> None:
                took.append(time.perf_counter() - begun)
                self.registry.withdraw(record.id)

            self.registry.claim(record, list).addCallbacks(agreed, lambda failure: self._say(failed=str(failure))).addCallback(step)

        step()

    def state(self) -> None:
        status = self.registry.status()
        self._say(
            known=self.known,
            published=status.published,
            written=not self.registry._outbox.pending and not self.registry._outbox.anew,
            complete=status.complete,
            available=status.available,
            malformed=self.registry.stats.malformed,
            **self.costs(),
        )


def _secret(socket: str) -> Path:
    """The secret of all servers, beside the socket of the Redis."""
    return Path(socket).with_name("secret")


# -- the parent


class Member:
    """A server, as the parent sees it."""

    def __init__(self, socket: str, tunnels: int, *, real: bool = False) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bench.registry", "--child", socket, "--tunnels", str(tunnels), *(["--real"] if real else [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def tell(self, do: str, **more: Any) -> None:
        """Have it do something."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"do": do, **more}) + "\n")
        self.process.stdin.flush()

    def ask(self, do: str, **more: Any) -> dict[str, Any]:
        """Have it do something, and return its answer."""
        self.tell(do, **more)
        assert self.process.stdout is not None
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait()


@contextmanager
def _redis(folder: str) -> Iterator[str]:
    binary = shutil.which("redis-server")
    if binary is None:
        raise BenchError("redis-server is not installed (apt-get install redis-server)")
    socket = f"{folder}/redis.sock"
    _secret(socket).write_text("a secret of all servers")
    arguments = ("--port", "0", "--unixsocket", socket, "--dir", folder, "--save", "", "--appendonly", "no")
    with subprocess.Popen([binary, *arguments], stdout=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: Path(socket).exists(), "redis-server listens")
            yield socket
        finally:
            process.kill()


def _end(members: Sequence[Member]) -> None:
    for member in members:
        member.kill()


def _until(members: Sequence[Member], known: int, each: int) -> float:
    """Wait until all know what the others have; returns the seconds."""
    begun = time.monotonic()

    def done() -> bool:
        states = [member.ask("state") for member in members]
        return all(state["known"] == known and state["published"] == each and state["written"] for state in states)

    wait_until(done, f"all know {known} connectors", PATIENCE, PAUSE)
    return time.monotonic() - begun


def _line(what: str, figure: str) -> None:
    print(f"| {what} | {figure} |", flush=True)


def _quantiles(values: Sequence[float]) -> str:
    ordered = sorted(values)
    p50, p99 = (ordered[min(int(len(ordered) * part), len(ordered) - 1)] for part in (0.5, 0.99))
    return f"{p50 * 1000:.1f} ms, p99 {p99 * 1000:.1f} ms, worst {ordered[-1] * 1000:.0f} ms ({len(ordered)} of them)"


def _cold_start(socket: str, tunnels: int, connectors: int) -> None:
    """A real server joins: a row of its selection for each connector, with links to the servers that have them."""
    server = Member(socket, tunnels, real=True)
    try:
        state: dict[str, Any] = {}
        ready: dict[str, Any] = {}
        whole: dict[str, Any] = {}

        def done() -> bool:
            state.update(server.ask("state"))
            for so_far, reached in ((ready, state["ready"]), (whole, state["rows"] >= connectors)):
                if reached and not so_far:
                    so_far.update(state)
            return bool(ready and whole)

        wait_until(done, "a server has a row for each connector", PATIENCE, PAUSE)
        _line(
            "a new server has a row of its selection for each of them after",
            f"{whole['age']:.1f} s ({whole['cpu']:.1f} s of processor time, with its start)",
        )
        _line("it was ready after", f"{ready['age']:.1f} s, with {ready['rows']:,} rows")
        _line("meanwhile its reactor was busy at once for at most", f"{state['turn'] * 1000:.0f} ms")
        _line("its memory", f"{state['memory'] / 2**20:.0f} MiB")
        time.sleep(IDLE)
        later = server.ask("state")
        idle = (later["cpu"] - state["cpu"]) / (later["age"] - state["age"])
        _line("and its processor time while nothing happens", f"{idle * 100:.1f} %")
    finally:
        server.kill()


def _measure(connectors: int, servers: int, rate: float, seconds: float) -> None:
    tunnels = max(connectors // TUNNELS, 1)
    with tempfile.TemporaryDirectory(prefix="rtunnel-bench-") as folder, ExitStack() as stack:
        socket = stack.enter_context(_redis(folder))
        redis = Redis(unix_socket_path=socket, protocol=2)
        members: list[Member] = []
        stack.callback(_end, members)
        members += [Member(socket, tunnels) for _ in range(servers)]
        each = connectors // servers
        _until(members, 0, 0)
        empty = [member.ask("state") for member in members]
        before = redis.info("memory")["used_memory"]

        begun = time.monotonic()
        for member in members:
            member.tell("fill", count=each)
        _until(members, each * (servers - 1), each)
        took = time.monotonic() - begun
        print(f"{connectors:,} connectors at {servers} servers, {tunnels:,} tunnels\n\n| what | figure |\n|---|---|")
        _line("all have joined, and are known everywhere, after", f"{took:.1f} s ({each * servers / took:,.0f} joins/s)")
        full = [member.ask("state") for member in members]
        used = redis.info("memory")["used_memory"] - before
        _line("Redis, for each connector", f"{used / (each * servers):.0f} bytes (in all {used / 2**20:.0f} MiB)")
        grown = sum(now["memory"] - then["memory"] for now, then in zip(full, empty, strict=True)) / servers
        _line("a server, for each connector", f"{grown / (each * servers):.0f} bytes (in all {grown / 2**20:.0f} MiB)")
        cpu = sum(now["cpu"] - then["cpu"] for now, then in zip(full, empty, strict=True))
        _line("processor time of all servers, for each connector and server", f"{cpu / (each * servers * servers) * 1e6:.0f} us")

        for member in members:
            member.tell("churn", rate=rate / servers, seconds=seconds)
        time.sleep(seconds + 2)
        answers = [member.ask("churned") for member in members]
        _line(
            f"{rate:g} joins and {rate:g} departures a second: a join is known at another server after",
            _quantiles([delay for answer in answers for delay in answer["delays"]]),
        )
        _line("meanwhile a reactor was busy at once for at most", f"{max(answer['turn'] for answer in answers) * 1000:.0f} ms")
        _line("an agreement takes", _quantiles(members[0].ask("claim", count=300)["took"]))

        late = Member(socket, tunnels)
        members.append(late)
        state: dict[str, Any] = {}

        def complete() -> bool:
            state.update(late.ask("state"))
            return state["complete"] is True

        wait_until(complete, "the new server knows everything", PATIENCE, PAUSE)
        _line(
            "a new server knows everything after", f"{state['age']:.1f} s ({state['cpu']:.1f} s of processor time, with its start)"
        )
        _line("meanwhile its reactor was busy at once for at most", f"{state['turn'] * 1000:.0f} ms")

        _cold_start(socket, tunnels, connectors)

        published = members[0].ask("state")["published"]
        members.pop(0).kill()
        begun = time.monotonic()
        wait_until(
            lambda: all(member.ask("state")["known"] <= connectors - published for member in members), "it is gone", PATIENCE, PAUSE
        )
        _line(f"a server with {published:,} connectors is killed: the others know after", f"{time.monotonic() - begun:.1f} s")

        wanted: int = sum(member.ask("state")["published"] for member in members)
        begun = time.monotonic()
        redis.flushall()

        def written() -> bool:
            keys = redis.keys("rtunnel:*:server:*")
            there: int = sum(redis.hlen(key) - 2 for key in keys)
            return there == wanted

        wait_until(written, "all is written anew", PATIENCE, PAUSE)
        _line("Redis is flushed: all is there again after", f"{time.monotonic() - begun:.1f} s")
        malformed = sum(member.ask("state")["malformed"] for member in members)
        _line("messages that were not understood", str(malformed))
        calls = {name.removeprefix("cmdstat_"): stat for name, stat in redis.info("commandstats").items()}
        script = calls["evalsha"]
        _line("Redis: a script takes", f"{script['usec_per_call']:.0f} us on the average ({script['calls']:,} calls)")


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.registry", description=__doc__)
    parser.add_argument("--connectors", type=int, default=100_000)
    parser.add_argument("--servers", type=int, default=4)
    parser.add_argument("--rate", type=float, default=200.0, help="joins per second while delays are measured")
    parser.add_argument("--seconds", type=float, default=10.0, help="for which they are")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--tunnels", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--real", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        settings = RegistrySettings(address=RegistryAddress(scheme="unix", path=arguments.child))
        (_RealServer(settings) if arguments.real else _Child(settings, arguments.tunnels)).run()
        return 0
    try:
        _measure(arguments.connectors, arguments.servers, arguments.rate, arguments.seconds)
    except BenchError as error:
        print(f"bench.registry: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
