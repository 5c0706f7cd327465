"""Tunnels: who is attached, and the choice by weight."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from random import Random
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.routing.intercept_terms import InterceptFilter
from rtunnel.routing.tunnels import EXCLUSIVE_WEIGHT, Connector, Rank, TunnelRegistry

NGINX = UUID(int=1)
OTHER = UUID(int=2)

Registry = TunnelRegistry[str]


def connector(weight: int = 1, tunnel: UUID = NGINX, name: str = "", *, datagrams: bool = False) -> Connector[str]:
    pool = name or f"pool of weight {weight}"
    return Connector(id=UUID(int=0), tunnel=tunnel, weight=weight, pool=pool, peer="192.0.2.1:40001", datagrams=datagrams)


class Script:
    """Gives the numbers of a list, one after another."""

    def __init__(self, *numbers: float) -> None:
        self.numbers = list(numbers)

    def __call__(self) -> float:
        return self.numbers.pop(0)


def forbidden() -> float:
    raise AssertionError("nothing is drawn where there is nothing to choose from")


def attached(registry: Registry, *weights: int) -> list[Connector[str]]:
    connectors = [connector(weight) for weight in weights]
    for one in connectors:
        registry.add(one)
    return connectors


class MembershipTests(SynchronousTestCase):
    """Connectors come and go."""

    def test_add_and_remove(self) -> None:
        registry = Registry()
        one, two, other = connector(), connector(255), connector(tunnel=OTHER)
        for each in (one, two, other):
            registry.add(each)
        tunnel = registry.get(NGINX)
        assert tunnel is not None
        self.assertEqual(tunnel.id, NGINX)
        self.assertEqual(set(tunnel.connectors), {one, two})
        self.assertEqual(len(tunnel), 2)
        self.assertIn(one, tunnel)
        self.assertNotIn(other, tunnel)
        self.assertEqual(set(registry), {one, two, other})
        self.assertEqual((len(registry.tunnels), len(list(registry))), (2, 3))
        self.assertEqual({tunnel.id for tunnel in registry.tunnels}, {NGINX, OTHER})
        self.assertTrue(registry.remove(one))
        self.assertEqual(tunnel.connectors, (two,))

    def test_remove_is_idempotent(self) -> None:
        registry = Registry()
        one, two = attached(registry, 1, 1)
        self.assertTrue(registry.remove(one))
        self.assertFalse(registry.remove(one))
        self.assertTrue(registry.remove(two))
        self.assertFalse(registry.remove(two))
        self.assertFalse(registry.remove(connector(tunnel=OTHER)))

    def test_an_empty_tunnel_is_forgotten(self) -> None:
        registry = Registry()
        (one,) = attached(registry, 1)
        registry.remove(one)
        self.assertIsNone(registry.get(NGINX))
        self.assertIsNone(registry.choose(NGINX))
        self.assertEqual((list(registry), registry.tunnels), ([], ()))
        self.assertEqual((len(registry.tunnels), len(list(registry))), (0, 0))

    def test_twice_is_a_mistake(self) -> None:
        registry = Registry()
        (one,) = attached(registry, 1)
        self.assertRaises(ValueError, registry.add, one)
        self.assertEqual(len(list(registry)), 1)

    def test_back_again(self) -> None:
        registry = Registry(forbidden)
        (one,) = attached(registry, 1)
        registry.remove(one)
        registry.add(one)
        self.assertIs(registry.choose(NGINX), one)

    def test_going_while_iterating(self) -> None:
        registry = Registry()
        attached(registry, 1, 2, 255)
        registry.add(connector(tunnel=OTHER))
        for one in registry:
            registry.remove(one)
        self.assertEqual(len(list(registry)), 0)

    def test_announced(self) -> None:
        """Who is back on another link is found without a look at the others; it is a name of the same user only."""
        registry = Registry()
        ghost, back, alice, other = attached(registry, 1, 1, 1, 1)
        alice.user = "alice"
        tunnel = registry.get(NGINX)
        assert tunnel is not None
        names = ((ghost, b"one"), (alice, b"one"), (other, b"two"), (back, b"one"))
        self.assertEqual([tunnel.announce(*name) for name in names], [None, None, None, ghost])
        registry.avoid(ghost, True)
        registry.avoid(back, True)
        registry.remove(ghost)
        (again,) = attached(registry, 1)
        self.assertIs(tunnel.announce(again, b"one"), back)
        for one in (back, again, alice, other):
            registry.remove(one)
        self.assertEqual(tunnel._by_instance, {})

    def test_weights(self) -> None:
        for weight in (0, 256, -1):
            self.assertRaises(ValueError, connector, weight)

    def test_connectors(self) -> None:
        one, two = connector(), connector()
        self.assertNotEqual(one, two)
        self.assertEqual((one.streams, one.requests), (0, 0))
        one.streams += 1
        one.requests += 2
        self.assertEqual((one.streams, one.requests), (1, 2))
        self.assertRaises(AttributeError, setattr, one, "colour", "red")

    def test_outcomes(self) -> None:
        """Other outcomes than a complete response are counted separately, and as requests."""
        one = connector()
        one.requests += 1
        for outcome in ("timeout", "refused", "timeout"):
            one.count(outcome)
        self.assertEqual((one.requests, one.outcomes), (4, {"timeout": 2, "refused": 1}))
        self.assertEqual(connector().outcomes, {})

    def test_ranks(self) -> None:
        self.assertLess(Rank.EXCLUSIVE, Rank.SHARING)
        self.assertEqual([connector(weight).rank for weight in (1, 254, 255)], [Rank.SHARING, Rank.SHARING, Rank.EXCLUSIVE])

    def test_order(self) -> None:
        """Connectors are ordered by rank, those for datagrams last."""
        registry = Registry()
        datagrams = connector(255, datagrams=True)
        registry.add(datagrams)
        pod, laptop, twin = attached(registry, 1, 255, 1)
        tunnel = registry.get(NGINX)
        assert tunnel is not None
        self.assertEqual(tunnel.connectors, (laptop, pod, twin, datagrams))
        self.assertEqual((len(tunnel), datagrams in tunnel), (4, True))


class OthersTests(SynchronousTestCase):
    """What a connector gets, and beside whom."""

    def setUp(self) -> None:
        self.registry = Registry()

    def share(self, one: Connector[str]) -> tuple[int, int]:
        tunnel = self.registry.get(NGINX)
        assert tunnel is not None
        return tunnel.share(one)

    def test_share(self) -> None:
        one, two = attached(self.registry, 1, 3)
        self.assertEqual((self.share(one), self.share(two)), ((1, 4), (3, 4)))
        (exclusive,) = attached(self.registry, 255)
        self.assertEqual((self.share(one), self.share(exclusive)), ((0, 255), (255, 255)))
        self.registry.avoid(exclusive, True)
        self.assertEqual((self.share(one), self.share(exclusive)), ((1, 4), (0, 4)))

    def test_share_of_one_with_filters(self) -> None:
        attached(self.registry, 1)
        filtered = Connector(id=UUID(int=3), tunnel=NGINX, weight=1, pool="", filters=(InterceptFilter.parse("path=/"),))
        self.registry.add(filtered)
        self.assertEqual(self.share(filtered), (0, 0))

    def test_others(self) -> None:
        """Those that carry the same, with or without filters; of a crowd some, and how many there are."""
        crowd = attached(self.registry, *[1] * 5)
        datagrams = connector(datagrams=True)
        filtered = Connector(id=UUID(int=3), tunnel=NGINX, weight=1, pool="", filters=(InterceptFilter.parse("path=/"),))
        for one in (datagrams, filtered):
            self.registry.add(one)
        tunnel = self.registry.get(NGINX)
        assert tunnel is not None
        self.assertEqual(tunnel.others(crowd[0], 10), ([filtered, *crowd[1:]], 5))
        self.assertEqual(tunnel.others(crowd[0], 2), ([filtered, crowd[1]], 5))
        self.assertEqual(tunnel.others(datagrams, 10), ([], 0))

    def test_changes(self) -> None:
        """Each coming, going and change of rank is counted."""
        (one,) = attached(self.registry, 1)
        tunnel = self.registry.get(NGINX)
        assert tunnel is not None
        before = tunnel.changes
        (two,) = attached(self.registry, 1)
        self.registry.avoid(one, True)
        self.registry.remove(two)
        self.assertGreaterEqual(tunnel.changes, before + 3)


class ChoiceTests(SynchronousTestCase):
    """Who is chosen, number by number."""

    def chosen(self, weights: Sequence[int], *numbers: float, without: Sequence[int] = ()) -> list[int]:
        """Draw with the numbers of a script; returns the positions of the chosen ones."""
        registry = Registry(Script(*numbers))
        connectors = attached(registry, *weights)
        exclude = [connectors[position] for position in without]
        drawn = [registry.choose(NGINX, exclude) for _ in numbers]
        return [connectors.index(one) for one in drawn if one is not None]

    def test_nobody(self) -> None:
        self.assertIsNone(Registry(forbidden).choose(NGINX))

    def test_one(self) -> None:
        registry = Registry(forbidden)
        (one,) = attached(registry, 7)
        self.assertIs(registry.choose(NGINX), one)
        self.assertIsNone(registry.choose(OTHER))

    def test_by_weight(self) -> None:
        self.assertEqual(self.chosen([1, 3], 0, 0.2499, 0.25, 0.5, 0.9999999999999999), [0, 0, 1, 1, 1])
        self.assertEqual(self.chosen([2, 1, 1], 0, 0.4999, 0.5, 0.7499, 0.75), [0, 0, 1, 1, 2])
        self.assertEqual(self.chosen([254] * 3, 0, 0.34, 0.67), [0, 1, 2])

    def test_an_exclusive_one_takes_everything(self) -> None:
        registry = Registry(forbidden)
        connectors = attached(registry, 254, 255, 1)
        self.assertIs(registry.choose(NGINX), connectors[1])

    def test_exclusive_ones_share(self) -> None:
        self.assertEqual(self.chosen([255, 254, 255], 0, 0.49, 0.5, 0.99), [0, 0, 2, 2])

    def test_the_others_come_back(self) -> None:
        registry = Registry(Script(0, 0.5))
        pod, twin, laptop = attached(registry, 1, 1, 255)
        self.assertIs(registry.choose(NGINX), laptop)
        registry.remove(laptop)
        self.assertIs(registry.choose(NGINX), pod)
        self.assertIs(registry.choose(NGINX), twin)

    def test_without_some(self) -> None:
        # of the weights 1, 2, 3, 4 the excluded ones leave no trace
        self.assertEqual(self.chosen([1, 2, 3, 4], 0, 0.24, 0.25, 0.99, without=[1, 3]), [0, 0, 2, 2])
        self.assertEqual(self.chosen([1, 2, 3, 4], 0, 0.33, 0.34, 0.99, without=[0, 2, 0]), [1, 1, 3, 3])

    def test_without_those_who_are_not_there(self) -> None:
        registry = Registry(Script(0, 0.5))
        one, two, gone = attached(registry, 1, 1, 1)
        registry.remove(gone)
        stranger = connector(tunnel=OTHER)
        self.assertIs(registry.choose(NGINX, [gone, stranger]), one)
        self.assertIs(registry.choose(NGINX, {gone, stranger}), two)

    def test_without_all(self) -> None:
        registry = Registry(forbidden)
        connectors = attached(registry, 1, 255, 3)
        self.assertIsNone(registry.choose(NGINX, connectors))

    def test_smaller_ones_step_in_for_failed_exclusive_ones(self) -> None:
        registry = Registry(Script(0, 0.5, 0.99))
        pod, laptop, twin, second = attached(registry, 1, 255, 1, 255)
        self.assertIs(registry.choose(NGINX, [laptop]), second)
        self.assertIs(registry.choose(NGINX, [laptop, second]), twin)
        self.assertIs(registry.choose(NGINX, [laptop, second, twin]), pod)

    def test_tunnels_do_not_mix(self) -> None:
        registry = Registry(forbidden)
        (one,) = attached(registry, 1)
        other = connector(255, tunnel=OTHER)
        registry.add(other)
        self.assertIs(registry.choose(NGINX), one)
        self.assertIs(registry.choose(OTHER), other)


class DatagramTests(SynchronousTestCase):
    """Streams of bytes and of datagrams are not for the same connectors."""

    def datagrams(self, weight: int = 1) -> Connector[str]:
        return connector(weight, datagrams=True)

    def test_each_its_own(self) -> None:
        registry = Registry(Script(0.0, 0.0))
        bytes_only, datagrams_only = connector(), self.datagrams(EXCLUSIVE_WEIGHT)
        registry.add(bytes_only)
        registry.add(datagrams_only)
        self.assertIs(registry.choose(NGINX), bytes_only)
        self.assertIs(registry.choose(NGINX, datagrams=True), datagrams_only)
        self.assertIsNone(registry.choose(NGINX, [bytes_only]))
        self.assertIsNone(registry.choose(NGINX, [datagrams_only], datagrams=True))
        self.assertIsNone(registry.choose(OTHER, datagrams=True))
        self.assertEqual((len(list(registry)), set(registry)), (2, {bytes_only, datagrams_only}))

    def test_only_for_bytes(self) -> None:
        """The shortcut for a single connector does not lead to one for datagrams."""
        registry = Registry(forbidden)
        registry.add(self.datagrams())
        self.assertIsNone(registry.choose(NGINX))
        one = connector()
        registry.add(one)
        self.assertIs(registry.choose(NGINX), one)

    def test_by_weight(self) -> None:
        registry = Registry(Script(0.0, 0.5, 0.0, 0.0))
        small, large, exclusive = self.datagrams(1), self.datagrams(3), self.datagrams(EXCLUSIVE_WEIGHT)
        registry.add(small)
        registry.add(large)
        self.assertEqual([registry.choose(NGINX, datagrams=True) for _ in range(2)], [small, large])
        registry.add(exclusive)
        self.assertIs(registry.choose(NGINX, datagrams=True), exclusive)
        self.assertIs(registry.choose(NGINX, [exclusive], datagrams=True), small)

    def test_last_one_leaves(self) -> None:
        registry = Registry()
        one, other = connector(), self.datagrams()
        registry.add(one)
        registry.add(other)
        self.assertTrue(registry.remove(one))
        self.assertEqual(len(registry.tunnels), 1)
        self.assertTrue(registry.remove(other))
        self.assertEqual(len(registry.tunnels), 0)


class ShareTests(SynchronousTestCase):
    """The shares of a seeded random."""

    def shares(self, *weights: int) -> list[float]:
        registry = Registry(Random(7).random)
        connectors = attached(registry, *weights)
        drawn = Counter(registry.choose(NGINX) for _ in range(6000))
        return [drawn[one] / 6000 for one in connectors]

    def about(self, weights: Sequence[int], *expected: float) -> None:
        for share, wanted in zip(self.shares(*weights), expected, strict=True):
            self.assertApproximates(share, wanted, 0.025)

    def test_shares(self) -> None:
        self.about([1, 1], 0.5, 0.5)
        self.about([1, 3], 0.25, 0.75)
        self.about([10, 20, 70], 0.1, 0.2, 0.7)
        self.about([255, 255], 0.5, 0.5)

    def test_exclusive(self) -> None:
        self.assertEqual(self.shares(1, 255, 254), [0, 1, 0])

    def test_the_default_is_random(self) -> None:
        registry = Registry()
        connectors = attached(registry, 1, 1)
        self.assertEqual({registry.choose(NGINX) for _ in range(200)}, set(connectors))


def counts(
    registry: Registry, total: int, exclude: Sequence[Connector[str]], aim: Callable[[float], None], *, datagrams: bool
) -> Counter[str]:
    """Who is chosen how often, when the random number visits each of so many equal parts once."""
    drawn: Counter[str] = Counter()
    for part in range(total):
        aim((part + 0.5) / total)
        one = registry.choose(NGINX, exclude, datagrams=datagrams)
        if one is not None:
            drawn[one.pool] += 1
    return drawn


weights_of_few = st.one_of(st.integers(1, 5), st.just(EXCLUSIVE_WEIGHT))


class SequenceTests(SynchronousTestCase):
    """Whatever came and went, each one's share is exactly its weight among those that count."""

    @settings(deadline=None, max_examples=100)
    @given(
        steps=st.lists(
            st.tuples(st.one_of(weights_of_few, st.integers(-8, -1)), st.sampled_from([False] * 3 + [True])), max_size=14
        ),
        failed=st.sets(st.integers(0, 7), max_size=4),
    )
    def test_add_remove_exclude(self, steps: list[tuple[int, bool]], failed: set[int]) -> None:
        number = 0.0

        def aim(new: float) -> None:
            nonlocal number
            number = new

        registry = Registry(lambda: number)
        present: list[Connector[str]] = []
        # a positive step attaches a connector of that weight, a negative one detaches one of those present
        for name, (step, datagrams) in enumerate(steps):
            if step > 0:
                present.append(connector(step, name=str(name), datagrams=datagrams))
                registry.add(present[-1])
            elif present:
                self.assertTrue(registry.remove(present.pop(step % len(present))))
        self.assertEqual(set(registry), set(present))
        self.assertEqual(registry.get(NGINX) is None, not present)

        exclude = [present[position] for position in failed if position < len(present)]
        for datagrams in (False, True):
            left = [one for one in present if one not in exclude and one.datagrams == datagrams]
            if any(one.weight == EXCLUSIVE_WEIGHT for one in left):
                left = [one for one in left if one.weight == EXCLUSIVE_WEIGHT]
            share = {one.pool: 1 if one.weight == EXCLUSIVE_WEIGHT else one.weight for one in left}
            self.assertEqual(counts(registry, sum(share.values()), exclude, aim, datagrams=datagrams), share)
            if not left:
                self.assertIsNone(registry.choose(NGINX, exclude, datagrams=datagrams))
