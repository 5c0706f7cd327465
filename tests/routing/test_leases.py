"""Leases as numbers: beginning, end, warnings, use, holding, resuming; time passes when the test says so."""

from __future__ import annotations

from itertools import count
from typing import Any
from uuid import uuid4

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.routing.intercept_terms import InterceptFilter
from rtunnel.routing.leases import Due, Lease, Leases
from rtunnel.routing.tunnels import Connector
from rtunnel.settings import LeaseSettings
from tests.support.ids import OTHER, TUNNEL

HOUR = 3600.0
slowly = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


class LeaseCase(SynchronousTestCase):
    def setUp(self) -> None:
        numbers = count(1)
        self.busy: set[Connector[Any]] = set()
        self.leases: Leases[Any] = Leases(lambda: f"lease {next(numbers)}", self.busy.__contains__)

    def connector(self, instance: bytes = b"", user: str = "", filters: str = "", tunnel: Any = TUNNEL) -> Connector[Any]:
        wanted = tuple(map(InterceptFilter.parse, filters.split(" or "))) if filters else ()
        made: Connector[Any] = Connector(id=uuid4(), tunnel=tunnel, weight=1, pool=None, user=user, filters=wanted)
        made.instance = instance
        return made

    def grant(self, connector: Connector[Any] | None = None, wanted: float = 0.0, **terms: Any) -> Lease[Any]:
        return self.leases.grant(connector or self.connector(), "alice", "", wanted, LeaseSettings(**terms))[0]

    def due(self, seconds: float) -> list[Due]:
        return [due for _, due in self.leases.advance(seconds)]


class TimeTests(LeaseCase):
    def test_no_end(self) -> None:
        lease = self.grant()
        self.assertEqual(self.due(1000 * HOUR), [])
        self.assertEqual(self.leases.left(lease), 0)

    def test_end(self) -> None:
        """One warning when a tenth is left."""
        lease = self.grant(wanted=10.0)
        self.assertEqual(self.due(8.9), [])
        self.assertEqual(self.due(0.1), [Due.EXPIRES])
        self.assertEqual(self.leases.left(lease), 1.0)
        self.assertEqual(self.due(0.9), [])
        self.assertEqual(self.due(0.2), [Due.EXPIRED])
        self.leases.end(lease)
        self.assertEqual(self.due(100), [])

    def test_the_longest(self) -> None:
        self.assertEqual(self.leases.left(self.grant(wanted=9 * HOUR, longest=8 * HOUR)), 8 * HOUR)
        self.assertEqual(self.leases.left(self.grant(longest=8 * HOUR)), 8 * HOUR)
        self.assertEqual(self.leases.left(self.grant(wanted=HOUR, longest=8 * HOUR)), HOUR)

    def test_renew(self) -> None:
        """From now on, as long as at the beginning or as asked for, never longer than allowed; the warning comes again."""
        lease = self.grant(wanted=HOUR, longest=8 * HOUR)
        self.due(0.95 * HOUR)
        self.leases.renew(lease, 0)
        self.assertEqual(self.leases.left(lease), HOUR)
        self.assertEqual(self.due(0.9 * HOUR), [Due.EXPIRES])
        self.leases.renew(lease, 20 * HOUR)
        self.assertEqual(self.leases.left(lease), 8 * HOUR)

    def test_idle(self) -> None:
        """Requests that ended and such that are in progress are use; each idle time has one warning."""
        connector = self.connector()
        lease = self.grant(connector, idle=100.0)
        self.assertEqual(self.due(89), [])
        self.assertEqual(self.due(1), [Due.IDLES])
        self.assertEqual(self.due(1), [])
        connector.requests += 1
        self.assertEqual(self.due(1), [])
        self.assertEqual(lease.used, 92)
        self.busy.add(connector)
        self.assertEqual(self.due(5000), [])
        self.busy.clear()
        self.assertEqual(self.due(90), [Due.IDLES])
        self.assertEqual(self.due(10), [Due.IDLE])

    def test_wish(self) -> None:
        connector = self.connector()
        lease = self.grant(connector)
        self.leases.wish(lease, "bob", 60)
        self.assertEqual(self.due(59), [])
        self.assertEqual(self.due(1), [Due.WISHED])
        self.leases.wish(lease, "bob", 60)
        connector.requests += 1
        self.assertEqual(self.due(1), [Due.USED])
        self.assertEqual(self.due(600), [])


class LinkTests(LeaseCase):
    """Links that are lost, and clients that come back."""

    def test_resumed(self) -> None:
        """By the same client it is the same lease, with the same end."""
        first = self.connector(b"instance", "alice")
        lease = self.grant(first, wanted=HOUR)
        self.due(60)
        self.assertIsNone(self.leases.hold(lease))
        self.assertIsNone(self.leases.of(first))
        self.due(60)
        second = self.connector(b"instance", "alice")
        again, resumed = self.leases.grant(second, "alice", "", HOUR, LeaseSettings())
        self.assertTrue(resumed)
        self.assertIs(again, lease)
        self.assertIs(self.leases.of(second), lease)
        self.assertEqual(self.leases.left(lease), HOUR - 120)
        self.assertEqual(self.due(600), [])

    def test_resumed_before_the_loss_is_known(self) -> None:
        first, second = self.connector(b"instance"), self.connector(b"instance")
        lease = self.grant(first)
        self.assertIs(self.grant(second), lease)
        self.assertIsNone(self.leases.of(first))
        self.assertEqual(len(self.leases), 1)

    def test_others_do_not_resume(self) -> None:
        """Not who has another number, another user, another tunnel, or no number."""
        lease = self.grant(self.connector(b"instance", "alice"))
        nobody = self.grant(self.connector(b""))
        self.leases.hold(lease)
        self.leases.hold(nobody)
        for other in (
            self.connector(b"another", "alice"),
            self.connector(b"instance", "bob"),
            self.connector(b"instance", "alice", tunnel=OTHER),
            self.connector(b"", ""),
        ):
            self.assertNotIn(self.grant(other), (lease, nobody))

    def test_held_long_enough(self) -> None:
        lease = self.grant(hold=120.0)
        self.leases.hold(lease)
        self.assertEqual(self.due(119), [])
        self.assertEqual(self.due(1), [Due.LOST])

    def test_it_ends_while_it_is_held(self) -> None:
        lease = self.grant(wanted=60.0)
        self.leases.hold(lease)
        self.assertEqual(self.due(60), [Due.EXPIRED])

    def test_too_many_are_held(self) -> None:
        """Of each tunnel some; the longest held one has to end."""
        leases = [self.grant(held=2) for _ in range(3)]
        other = self.grant(self.connector(tunnel=OTHER), held=2)
        self.assertIsNone(self.leases.hold(leases[1]))
        self.assertIsNone(self.leases.hold(leases[0]))
        self.assertIsNone(self.leases.hold(other))
        self.assertIs(self.leases.hold(leases[2]), leases[1])
        self.leases.end(leases[1])
        self.assertEqual(len(self.leases), 3)

    def test_filters_stay_taken(self) -> None:
        """Of those that are held; not for their holder, and not when they have ended."""
        lease = self.grant(self.connector(b"a", filters="header:X-User=alice"))
        wanted = (InterceptFilter.parse("header:X-User=alice; path^=/api"),)
        self.assertIsNone(self.leases.conflict(TUNNEL, wanted, "bob"))
        self.leases.hold(lease)
        conflict = self.leases.conflict(TUNNEL, wanted, "bob")
        assert conflict is not None
        self.assertIs(conflict.connector, lease)
        self.assertIsNone(self.leases.conflict(TUNNEL, wanted, "alice"))
        self.assertIsNone(self.leases.conflict(OTHER, wanted, "bob"))
        self.leases.end(lease)
        self.assertIsNone(self.leases.conflict(TUNNEL, wanted, "bob"))

    @slowly
    @given(st.lists(st.tuples(st.sampled_from("ghreat"), st.integers(0, 3)), max_size=25))
    def test_whatever_happens(self, steps: list[tuple[str, int]]) -> None:
        """A client has one lease at most, and a lease one connector; what has ended is nowhere."""
        self.setUp()
        ended: list[Lease[Any]] = []
        for step, who in steps:
            held = [lease for lease in self.leases if lease.instance == b"%d" % who]
            if step == "g":
                self.grant(self.connector(b"%d" % who), wanted=100.0, idle=200.0, held=2)
            elif step == "a":
                ended += [lease for lease, due in self.leases.advance(30) if due in (Due.EXPIRED, Due.IDLE, Due.LOST)]
            elif held and step == "h":
                surplus = self.leases.hold(held[0])
                ended += [surplus] if surplus is not None else []
            elif held and step == "r":
                self.leases.renew(held[0], 0)
            elif held:
                ended += held
            for lease in ended:
                if lease in self.leases:
                    self.leases.end(lease)
            clients = [lease.instance for lease in self.leases]
            self.assertEqual(len(clients), len(set(clients)))
            for lease in self.leases:
                self.assertNotIn(lease, ended)
                if lease.connector is not None:
                    self.assertIs(self.leases.of(lease.connector), lease)
