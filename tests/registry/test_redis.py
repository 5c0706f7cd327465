"""Servers that share a real Redis: what they hear of each other, agree on, and how they get over its faults."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from random import choice, randrange
from typing import Any
from uuid import UUID

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.protocol import ClientFactory, Factory, Protocol
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from rtunnel.registry.interfaces import RegistryUnavailable
from rtunnel.registry.records import ConnectorRecord
from rtunnel.registry.redis_registry import SILENT, RedisRegistry
from rtunnel.settings import Address, RegistryAddress, RegistrySettings
from tests.registry.support import OTHER_TUNNEL, TUNNEL, Heard, connector, server, server_id
from tests.support.authority import Authority
from tests.support.processes import free_port
from tests.support.redis import RedisServer, Sentinel

PATIENCE = 30.0


async def eventually(condition: Callable[[], object], what: object = "") -> None:
    """Wait until something is true."""
    clock: Any = reactor
    end = clock.seconds() + PATIENCE
    while not condition():
        if clock.seconds() > end:
            raise AssertionError(f"waited in vain: {what() if callable(what) else what}")
        await deferLater(clock, 0.01)


class Refused(Exception):
    """Somebody else has it."""


def unless_taken(records: Iterable[ConnectorRecord]) -> str:
    """Refuse if there is any other with filters."""
    for record in records:
        if record.filters:
            raise Refused(record.holder)
    return "granted"


class RedisCase(TestCase):
    """Some servers with one Redis."""

    timeout = 120

    def setUp(self) -> None:
        self.redis = self.new_redis()
        self.addCleanup(self.redis.close)
        self.registries: dict[int, RedisRegistry] = {}
        self.heard: dict[int, Heard] = {}

    def new_redis(self) -> RedisServer:
        return RedisServer()

    async def begin(self, number: int, settings: RegistrySettings | None = None, *, complete: bool = True) -> RedisRegistry:
        """Start a server's registry."""
        registry = RedisRegistry(settings or self.redis.settings(), reactor)
        self.registries[number] = registry
        self.heard[number] = Heard()
        registry.start(server(number), self.heard[number])
        self.addCleanup(registry.stop)
        if complete:
            await eventually(lambda: registry.complete and registry.available, registry.status)
        return registry

    async def pair(self) -> tuple[RedisRegistry, RedisRegistry]:
        a, b = await self.begin(1), await self.begin(2)
        await self.knows(1, 2)
        await self.knows(2, 1)
        return a, b

    async def knows(self, who: int, *servers: int) -> None:
        """Wait until a server knows exactly these others."""
        heard = self.heard[who]
        await eventually(lambda: set(heard.servers) == {server_id(one) for one in servers}, lambda: heard.servers)

    async def has(self, who: int, *records: ConnectorRecord) -> None:
        """Wait until a server knows exactly these connectors of others."""
        heard = self.heard[who]
        await eventually(lambda: set(heard.connectors.values()) == set(records), lambda: heard.connectors)


class SharingTests(RedisCase):
    async def test_each_other(self) -> None:
        a, b = await self.pair()
        a.publish(connector(7))
        b.publish(connector(8, at=2, tunnel=OTHER_TUNNEL))
        await self.has(1, connector(8, at=2, tunnel=OTHER_TUNNEL))
        await self.has(2, connector(7))
        a.publish(connector(7, avoided=True))
        await self.has(2, connector(7, avoided=True))
        a.announce(server(1, leaving=True))
        await eventually(lambda: b.server(server_id(1)) == server(1, leaving=True))
        a.withdraw(connector(7).id)
        await self.has(2)
        self.assertEqual(self.heard[2].availabilities, [True])
        self.assertEqual(b.stats.malformed, 0)

    async def test_one_that_comes_later(self) -> None:
        a = await self.begin(1)
        for number in range(1000):
            a.publish(connector(number))
        await self.begin(2)
        await eventually(lambda: len(self.heard[2].connectors) == 1000)
        self.assertEqual(len(list(self.registries[2].records(TUNNEL))), 1000)

    async def test_complete_means_that_all_is_known(self) -> None:
        a = await self.begin(1)
        for number in range(2000):
            a.publish(connector(number))
        await eventually(lambda: self.redis.call("HLEN", f"rtunnel:1:server:{server_id(1)}") == 2002)
        b = await self.begin(2)
        self.assertEqual(b.status().connectors, 2000)

    async def test_end(self) -> None:
        a, _ = await self.pair()
        a.publish(connector(7))
        await self.has(2, connector(7))
        await a.stop()
        await self.knows(2)
        self.assertEqual(self.redis.call("KEYS", f"*{server_id(1)}*"), [])

    async def test_killed(self) -> None:
        """A server that says nothing any more is gone with all that it had."""
        a, _ = await self.pair()
        a.publish(connector(7))
        await self.has(2, connector(7))
        clock: Any = reactor
        a._commands.stop()
        a._subscription.stop()
        a._timer.cancel()
        a._running = False
        since = clock.seconds()
        await self.knows(2)
        # five seconds, as precisely as it looks at the clock
        self.assertLess(clock.seconds() - since, 7.5)

    async def test_messages(self) -> None:
        a, _ = await self.pair()
        self.heard[2].take()
        a.tell(server_id(2), b"one\ntwo")
        await eventually(lambda: self.heard[2].events)
        self.assertEqual(self.heard[2].take(), [("told", (server_id(1), b"one\ntwo"))])

    async def test_keys(self) -> None:
        """They have the prefix, and end by themselves."""
        a = await self.begin(1, self.redis.settings(prefix="shop:", database=3))
        self.successResultOf(await self.claimed(a, connector(7)))
        with self.redis.client(db=3) as client:
            keys = sorted(key.decode() for key in client.execute_command("KEYS", "*"))
            self.assertEqual(keys, [f"shop:1:server:{server_id(1)}", "shop:1:servers", f"shop:1:tunnel:{TUNNEL}"])
            for key in keys:
                self.assertGreater(client.ttl(key), 0)
        self.assertEqual(self.redis.call("KEYS", "*"), [])

    async def claimed(self, registry: RedisRegistry, record: ConnectorRecord) -> Any:
        deferred = registry.claim(record, unless_taken)
        await eventually(lambda: deferred.called)
        return deferred

    async def test_databases_are_strangers(self) -> None:
        """Though a message in Redis reaches the subscribers of all databases."""
        a = await self.begin(1)
        await self.begin(2, self.redis.settings(database=1))
        a.publish(connector(7))
        await self.begin(3)
        await self.has(3, connector(7))
        self.assertEqual(self.heard[2].events, [])

    async def test_over_tcp(self) -> None:
        a = await self.begin(1, self.redis.settings("redis"))
        await self.begin(2)
        a.publish(connector(7))
        await self.has(2, connector(7))


class ClaimTests(RedisCase):
    async def test_one_after_the_other(self) -> None:
        a, b = await self.pair()
        mine = connector(7, name="alice", filters=("header:a=b",))
        self.assertEqual(await a.claim(mine, unless_taken), "granted")
        await self.assertFailure(b.claim(connector(8, at=2, filters=("header:a=b",)), unless_taken), Refused)
        self.assertEqual(list(b.records(TUNNEL)), [mine])
        self.assertEqual(list(a.records(TUNNEL)), [])
        self.assertEqual(a.stats.claims, {"agreed": 1, "refused": 0, "unavailable": 0})
        self.assertEqual(b.stats.claims, {"agreed": 0, "refused": 1, "unavailable": 0})

    async def test_at_once(self) -> None:
        """Whoever is first, nobody else gets it; in many rounds."""
        registries = [await self.begin(number) for number in (1, 2, 3)]
        for turn in range(10):
            tunnel = UUID(int=turn + 1)
            claims = [
                registry.claim(
                    connector(100 * turn + 10 * at + more, at=at, tunnel=tunnel, name=f"{at}{more}", filters=("path^=/",)),
                    self.unless_mine_or_taken(registry, tunnel),
                )
                for at, registry in enumerate(registries, 1)
                for more in range(2)
            ]
            outcomes = await gatherResults([claim.addErrback(lambda failure: failure.trap(Refused)) for claim in claims])
            self.assertEqual(outcomes.count("granted"), 1, outcomes)

    def unless_mine_or_taken(self, registry: RedisRegistry, tunnel: UUID) -> Callable[[Iterable[ConnectorRecord]], str]:
        """As a server decides, which knows its own connectors."""

        def decide(records: Iterable[ConnectorRecord]) -> str:
            if any(record.tunnel == tunnel for record in registry._outbox._records.values()):
                raise Refused("one of our own")
            return unless_taken(records)

        return decide

    async def test_withdrawn(self) -> None:
        a, b = await self.pair()
        await a.claim(connector(7, filters=("path^=/",)), unless_taken)
        # else there is nothing yet that could be gone
        await self.has(2, connector(7, filters=("path^=/",)))
        a.withdraw(connector(7).id)
        await self.has(2)
        self.assertEqual(await b.claim(connector(8, at=2, filters=("path^=/",)), unless_taken), "granted")

    async def test_a_record_that_was_not_claimed_counts(self) -> None:
        """Of a server that writes all anew while another one decides."""
        a, b = await self.pair()
        a.publish(connector(7, name="alice", filters=("path^=/",)))
        await self.has(2, connector(7, name="alice", filters=("path^=/",)))
        await self.assertFailure(b.claim(connector(8, at=2), unless_taken), Refused)

    async def test_at_once_while_connections_break(self) -> None:
        """Who has it takes it back after a moment; never two have it at once, though it is unknown what became of some writes."""
        registries = [await self.begin(number) for number in (1, 2, 3)]
        holding: set[UUID] = set()
        granted = broken = 0
        clock: Any = reactor
        end = clock.seconds() + 6.0

        async def contend(at: int, registry: RedisRegistry) -> None:
            nonlocal granted, broken
            while clock.seconds() < end:
                record = connector(randrange(1 << 60), at=at, name=str(at), filters=("path^=/",))
                try:
                    await registry.claim(record, unless_taken)
                except Refused:
                    await deferLater(clock, 0.01)
                except RegistryUnavailable:
                    broken += 1
                    # as who is refused does
                    registry.withdraw(record.id)
                    await deferLater(clock, 0.05)
                else:
                    granted += 1
                    self.assertEqual(holding, set())
                    holding.add(record.id)
                    await deferLater(clock, 0.02)
                    holding.discard(record.id)
                    registry.withdraw(record.id)

        async def disturb() -> None:
            while clock.seconds() < end:
                await deferLater(clock, 0.4)
                self.redis.call("CLIENT", "KILL", "TYPE", choice(("normal", "pubsub")))

        contenders = [contend(at, registry) for at, registry in enumerate(registries, 1)]
        await gatherResults([Deferred.fromCoroutine(one) for one in (*contenders, disturb())])
        self.assertGreater(granted, 10)
        self.assertGreater(broken, 0)

    async def test_many_tunnels(self) -> None:
        a, b = await self.pair()
        claims = [
            registry.claim(connector(number, at=at, tunnel=UUID(int=number + 1), filters=("path^=/",)), unless_taken)
            for at, registry in ((1, a), (2, b))
            for number in range(1000 * at, 1000 * at + 100)
        ]
        self.assertEqual(await gatherResults(claims), ["granted"] * 200)

    async def test_not_available(self) -> None:
        a = await self.begin(1)
        self.redis.kill()
        error = await self.assertFailure(a.claim(connector(7), unless_taken), RegistryUnavailable)
        self.assertTrue(str(error))
        self.assertEqual(list(a._outbox._records), [])


class FaultCase(RedisCase):
    async def assert_works(self) -> None:
        """Changes are exchanged and agreed on, again."""
        a, b = self.registries[1], self.registries[2]
        await eventually(lambda: a.available and b.available, lambda: (a.status(), b.status()))
        a.publish(connector(70))
        await eventually(lambda: connector(70) in b.records(TUNNEL))
        b.publish(connector(80, at=2))
        await eventually(lambda: connector(80, at=2) in a.records(TUNNEL))
        self.assertEqual(await a.claim(connector(90, tunnel=OTHER_TUNNEL, filters=("path^=/",)), unless_taken), "granted")
        await self.assertFailure(b.claim(connector(91, at=2, tunnel=OTHER_TUNNEL), unless_taken), Refused)

    async def loaded(self) -> tuple[RedisRegistry, RedisRegistry]:
        a, b = await self.pair()
        for number in range(1, 31):
            a.publish(connector(number))
        await eventually(lambda: len(self.heard[2].connectors) == 30)
        self.heard[2].take()
        return a, b

    def assert_nobody_was_gone(self) -> None:
        self.assertEqual([event for event in self.heard[2].events if "gone" in event[0]], [])

    def assert_nobody_was_gone_but(self, connector: UUID) -> None:
        """Nor a server."""
        gone = [what for event, what in self.heard[2].events if "gone" in event]
        self.assertEqual({getattr(what, "id", what) for what in gone}, {connector})


class FaultTests(FaultCase):
    async def test_killed_and_started_without_its_data(self) -> None:
        a, b = await self.loaded()
        self.redis.kill()
        await eventually(lambda: not a.available and not b.available)
        self.assertEqual(len(list(b.records(TUNNEL))), 30)
        a.publish(connector(31))
        self.redis.start()
        await self.assert_works()
        await eventually(lambda: connector(31) in b.records(TUNNEL))
        self.assert_nobody_was_gone()
        self.assertEqual(a.stats.rewritten, 2)
        self.assertEqual(self.heard[1].availabilities, [True, False, True])

    async def test_stopped_and_continued(self) -> None:
        a, b = await self.loaded()
        self.redis.pause()
        await eventually(lambda: not a.available and not b.available)
        await self.assertFailure(a.claim(connector(99), unless_taken), RegistryUnavailable)
        # longer than a silent server lives
        await deferLater(reactor, 6.0)
        self.redis.resume()
        await self.assert_works()
        self.assert_nobody_was_gone()

    async def test_slow(self) -> None:
        """It takes more than a second for everything: that is late, not lost."""
        a, b = await self.loaded()
        for _ in range(3):
            self.redis.call("CLIENT", "PAUSE", "1200", "ALL")
            self.assertEqual(await a.claim(connector(60, filters=("path^=/",)), unless_taken), "granted")
            a.withdraw(connector(60).id)
            await eventually(lambda: connector(60).id not in {record.id for record in b.records(TUNNEL)})
        self.assert_nobody_was_gone_but(connector(60).id)
        self.assertTrue(a.available)

    async def test_flushed(self) -> None:
        a, b = await self.loaded()
        self.redis.call("FLUSHALL")
        await eventually(lambda: a.stats.rewritten == 2 and b.stats.rewritten == 2)
        await self.assert_works()
        await eventually(lambda: not b._view.missing)
        self.assert_nobody_was_gone()
        self.assertEqual(self.redis.call("HLEN", f"rtunnel:1:server:{server_id(1)}"), 2 + 32)

    async def test_no_memory(self) -> None:
        a, _ = await self.loaded()
        self.redis.call("CONFIG", "SET", "maxmemory", "1")
        await eventually(lambda: not a.available, a.status)
        self.assertEqual(a.status().reason, "it has no memory left (maxmemory)")
        # signs of life still come
        await deferLater(reactor, 6.0)
        self.assert_nobody_was_gone()
        self.redis.call("CONFIG", "SET", "maxmemory", "0")
        await self.assert_works()

    async def test_connections_are_killed(self) -> None:
        """Messages are lost meanwhile."""
        a, _ = await self.loaded()
        for number in range(100, 400):
            a.publish(connector(number))
            if number % 50 == 0:
                self.redis.call("CLIENT", "KILL", "TYPE", "pubsub")
                self.redis.call("CLIENT", "KILL", "TYPE", "normal")
                await deferLater(reactor, 0.05)
        await self.assert_works()
        await eventually(lambda: len(self.heard[2].connectors) == 332)
        self.assert_nobody_was_gone()

    async def test_one_that_is_deaf(self) -> None:
        """Its subscription lives, but nothing comes: it does not take the others for dead, and subscribes again."""
        _, b = await self.loaded()
        subscriptions = self.redis.call("CLIENT", "LIST", "TYPE", "pubsub").count(b"id=")
        self.assertEqual(subscriptions, 2)
        self.redis.call("ACL", "SETUSER", "default", "resetchannels")
        await eventually(lambda: not b.available)
        self.redis.call("ACL", "SETUSER", "default", "allchannels")
        await self.assert_works()
        self.assert_nobody_was_gone()

    async def test_evicted(self) -> None:
        """Somebody removes what a server has written."""
        a, b = await self.loaded()
        self.redis.call("DEL", f"rtunnel:1:server:{server_id(1)}")
        a.publish(connector(50))
        await eventually(lambda: connector(50) in b.records(TUNNEL))
        await self.assert_works()
        self.assert_nobody_was_gone()


class Relay(Factory):
    """A way to Redis that can be cut: nothing passes then, and nobody notices by anything else."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.cut = False
        self.ends: list[Any] = []

    def buildProtocol(self, addr: Any) -> Any:
        protocol = RelayEnd(self)
        protocol.factory = self
        return protocol

    def set_cut(self, cut: bool) -> None:
        self.cut = cut
        for end in self.ends:
            (end.transport.pauseProducing if cut else end.transport.resumeProducing)()


class RelayEnd(Protocol):
    """One end of a connection through the relay; the near one dials the far one."""

    transport: Any

    def __init__(self, relay: Relay, other: RelayEnd | None = None) -> None:
        self.relay = relay
        self.other = other
        self.early = b""

    def connectionMade(self) -> None:
        self.relay.ends.append(self)
        if self.relay.cut:
            self.transport.pauseProducing()
        if self.other is None:
            far = ClientFactory()
            far.noisy = False
            far.buildProtocol = lambda addr: RelayEnd(self.relay, self)  # type: ignore[method-assign]
            reactor.connectTCP("127.0.0.1", self.relay.port, far)
        else:
            self.other.other = self
            self.transport.write(self.other.early)

    def dataReceived(self, data: bytes) -> None:
        if self.other is None:
            self.early += data
        else:
            self.other.transport.write(data)

    def connectionLost(self, reason: Any = None) -> None:
        self.relay.ends.remove(self)
        if self.other is not None:
            self.other.transport.loseConnection()


class PartitionTests(RedisCase):
    async def test_one_server_is_cut_off(self) -> None:
        """The others lose it; it keeps what it knew; then all is as before, and what has changed meanwhile is known."""
        relay = Relay(self.redis.port)
        port: Any = reactor.listenTCP(0, relay, interface="127.0.0.1")  # type: ignore[arg-type]
        self.addCleanup(port.stopListening)
        address = RegistryAddress(scheme="redis", hosts=(Address("127.0.0.1", port.getHost().port),))
        a = await self.begin(1, RegistrySettings(address=address))
        b = await self.begin(2)
        a.publish(connector(7))
        b.publish(connector(8, at=2))
        await self.has(1, connector(8, at=2))
        await self.has(2, connector(7))
        relay.set_cut(True)
        await eventually(lambda: not a.available)
        await self.knows(2)
        self.assertTrue(b.available)
        await self.assertFailure(a.claim(connector(70), unless_taken), RegistryUnavailable)
        a.publish(connector(9))
        b.publish(connector(10, at=2))
        b.withdraw(connector(8).id)
        await deferLater(reactor, 2.0)
        self.assertEqual(list(a.records(TUNNEL)), [connector(8, at=2)])
        relay.set_cut(False)
        await self.has(2, connector(7), connector(9))
        await self.has(1, connector(10, at=2))
        self.assertEqual([event for event in self.heard[1].events if event[0] == "server gone"], [])
        await a.stop()


class SecureTests(RedisCase):
    """Over TLS."""

    def new_redis(self) -> RedisServer:
        authority = Authority(Path(self.mktemp()).absolute())
        self.ca_file = str(authority.ca_file)
        certificate, key = authority.issue("127.0.0.1")
        self.tls_port = free_port()
        files = ("--tls-cert-file", certificate, "--tls-key-file", key, "--tls-ca-cert-file", self.ca_file)
        return RedisServer("--tls-port", str(self.tls_port), *files, "--tls-auth-clients", "no")

    def tls(self, ca_file: str | None) -> RegistrySettings:
        address = RegistryAddress(scheme="rediss", hosts=(Address("127.0.0.1", self.tls_port),))
        return RegistrySettings(address=address, ca_file=ca_file)

    async def test_works(self) -> None:
        a = await self.begin(1, self.tls(self.ca_file))
        await self.begin(2)
        a.publish(connector(7))
        await self.has(2, connector(7))
        await a.stop()

    async def test_another_authority(self) -> None:
        registry = await self.begin(1, self.tls(None), complete=False)
        await eventually(lambda: "certificate" in registry.status().reason, registry.status)


class FailoverTests(FaultCase):
    """A replica takes over, which Sentinel promotes."""

    async def test_failover(self) -> None:
        replica = RedisServer()
        self.addCleanup(replica.close)
        replica.follow(self.redis)
        sentinel = Sentinel("main", self.redis)
        self.addCleanup(sentinel.close)
        address = RegistryAddress(scheme="redis+sentinel", hosts=(Address("127.0.0.1", sentinel.port),), service="main")
        settings = RegistrySettings(address=address)
        a, b = await self.begin(1, settings), await self.begin(2, settings)
        for number in range(1, 31):
            a.publish(connector(number))
        await eventually(lambda: len(self.heard[2].connectors) == 30)
        self.heard[2].take()
        self.redis.kill()
        await eventually(lambda: replica.is_primary)
        await self.assert_works()
        self.assertEqual(replica.call("HLEN", f"rtunnel:1:server:{server_id(1)}"), 2 + 32)
        self.assert_nobody_was_gone()
        self.assertTrue(b.available)

    async def test_demoted(self) -> None:
        """It is a replica now: nothing can be written."""
        other = RedisServer()
        self.addCleanup(other.close)
        a, _ = await self.loaded()
        self.redis.follow(other)
        await eventually(lambda: a.status().reason == "it is a replica, which takes no writes", a.status)
        self.assertFalse(a.available)

    async def test_no_such_master(self) -> None:
        replica = RedisServer()
        self.addCleanup(replica.close)
        replica.follow(self.redis)
        sentinel = Sentinel("main", self.redis)
        self.addCleanup(sentinel.close)
        address = RegistryAddress(scheme="redis+sentinel", hosts=(Address("127.0.0.1", sentinel.port),), service="other")
        registry = await self.begin(1, RegistrySettings(address=address), complete=False)
        await eventually(lambda: "no Sentinel knows a master of that name" in registry.status().reason, registry.status)


class StartTests(RedisCase):
    """What is wrong is said in one line, and nothing breaks."""

    def new_redis(self) -> RedisServer:
        return RedisServer("--requirepass", "secret", "--databases", "4", password="secret")

    async def reason(self, settings: RegistrySettings) -> str:
        registry = await self.begin(1, settings, complete=False)
        await eventually(lambda: registry.status().reason != SILENT, registry.status)
        self.assertFalse(registry.complete)
        return registry.status().reason

    async def test_no_password(self) -> None:
        self.assertEqual(await self.reason(self.redis.settings()), "it wants a password (--registry-password-file)")

    async def test_wrong_password(self) -> None:
        reason = await self.reason(self.redis.settings(password="guessed"))
        self.assertEqual(reason, "it refuses user and password (--registry-password-file)")

    async def test_no_such_database(self) -> None:
        self.assertEqual(await self.reason(self.redis.settings(password="secret", database=9)), "it has no database 9")

    async def test_keys_of_others(self) -> None:
        self.redis.call("SET", "rtunnel:1:servers", "mine")
        reason = await self.reason(self.redis.settings(password="secret"))
        self.assertIn("belong to something else; choose another --registry-prefix", reason)

    async def test_nobody_there(self) -> None:
        settings = self.redis.settings("redis", password="secret")
        self.redis.kill()
        self.assertIn("it cannot be reached", await self.reason(settings))

    async def test_it_comes_later(self) -> None:
        settings = self.redis.settings(password="secret")
        self.redis.kill()
        registry = await self.begin(1, settings, complete=False)
        registry.publish(connector(7))
        await eventually(lambda: registry.status().reason != SILENT)
        self.redis.start()
        await eventually(lambda: registry.available)
        await self.begin(2, settings)
        await self.has(2, connector(7))

    async def test_no_permission(self) -> None:
        self.redis.call("ACL", "SETUSER", "rt", "on", ">pw", "~rtunnel:*", "&*", "+ping", "+subscribe")
        reason = await self.reason(self.redis.settings(user="rt", password="pw"))
        self.assertIn("lacks a permission", reason)

    async def test_least_permissions(self) -> None:
        """Those that docs/replicas.md lists."""
        self.redis.call("ACL", "SETUSER", "rt", "on", ">pw", "resetchannels", "~rtunnel:*", "&rtunnel:*", "-@all", *PERMISSIONS)
        a = await self.begin(1, self.redis.settings(user="rt", password="pw"))
        a.publish(connector(7))
        await a.claim(connector(8, filters=("path^=/",)), unless_taken)
        await self.begin(2, self.redis.settings(user="rt", password="pw"))
        await self.has(2, connector(7), connector(8, filters=("path^=/",)))
        a.withdraw(connector(7).id)
        await self.has(2, connector(8, filters=("path^=/",)))
        await a.stop()
        await self.knows(2)


COMMANDS = """
ping select client|setname subscribe publish multi exec evalsha script|load hset hget hmget hdel hscan get incr expire time zadd
zrem zrangebyscore zremrangebyscore rename unlink
"""
PERMISSIONS = [f"+{command}" for command in COMMANDS.split()]
