"""What a server would do to become what its settings want."""

from __future__ import annotations

from uuid import UUID

import attrs
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.ops.start import ENTRYPOINT
from rtunnel.routing.ingress import IngressRule
from rtunnel.server.plan import ServerPlan, planned_listeners
from rtunnel.settings import Address, HttpSettings, ListenerSettings, ServerSettings
from rtunnel.settings.diff import BindKey, Difference

TUNNEL = UUID("10bc451e-59dc-4c70-999e-91a30813ac78")
NOTHING: Difference[BindKey] = Difference((), (), ())


def listener(port: int, *entrypoints: int, hosts: tuple[str, ...] = ("a.local",), path: str = "/ws") -> ListenerSettings:
    return ListenerSettings(
        listen=Address("", port),
        entrypoints=tuple(Address("", entrypoint) for entrypoint in entrypoints),
        rules=tuple(IngressRule(host, TUNNEL) for host in hosts),
        path=path,
    )


def spots(*ports: int) -> tuple[BindKey, ...]:
    return tuple(BindKey(Address("", port)) for port in ports)


def plan(running: tuple[ListenerSettings, ...], *wanted: ListenerSettings) -> ServerPlan:
    before = planned_listeners(ServerSettings(running)) if running else ()
    return ServerPlan.between(before, planned_listeners(ServerSettings(wanted)))


class PlanTests(SynchronousTestCase):
    def test_start(self) -> None:
        """A start is the way from nothing."""
        made = plan((), listener(1, 80, 81), listener(2))
        self.assertEqual((made.ports.start, made.ports.stop), (spots(1, 80, 81, 2), ()))
        self.assertEqual((made.groups.start, made.moved), (spots(1, 2), spots(1, 2)))
        self.assertEqual(made.roles[spots(80)[0]], ENTRYPOINT)

    def test_the_same(self) -> None:
        made = plan((listener(1, 80), listener(2)), listener(1, 80), listener(2))
        self.assertEqual((made.ports, made.groups), (NOTHING, NOTHING))
        self.assertEqual((list(made.lines()), made.moved), ([], ()))

    def test_entrypoints_apart(self) -> None:
        """Nobody attaches there, so no port is bound for that; it is known by its first entrypoint."""
        apart = attrs.evolve(listener(1, 81, 82), listen=None)
        made = plan((listener(1, 80),), listener(1, 80), apart)
        self.assertEqual((made.ports.start, made.moved), (spots(81, 82), ()))
        self.assertEqual(list(made.lines()), ["listener *:81 started"])
        made = plan((listener(1, 80), apart), listener(1, 80), attrs.evolve(apart, http=HttpSettings(pool=False)))
        self.assertEqual(made.ports, NOTHING)
        self.assertEqual((list(made.lines()), made.moved), (["listener *:81 changed (http)"], ()))

    def test_rules(self) -> None:
        """No port is touched, and clients attach as before."""
        made = plan((listener(1, 80),), listener(1, 80, hosts=("b.local", "c.local")))
        self.assertEqual(made.ports, NOTHING)
        self.assertEqual((made.groups.change, made.moved), (spots(1), ()))
        self.assertEqual(list(made.lines()), ["listener *:1 changed (rules +2 -1)"])

    def test_transport(self) -> None:
        made = plan((listener(1, 80),), listener(1, 80, path="/other"))
        self.assertEqual(made.ports, NOTHING)
        self.assertEqual(made.moved, spots(1))
        self.assertEqual(list(made.lines()), ["listener *:1 changed (path)"])

    def test_limits(self) -> None:
        changed = attrs.evolve(listener(1, 80), http=HttpSettings(pool=False))
        self.assertEqual(list(plan((listener(1, 80),), changed).lines()), ["listener *:1 changed (http)"])

    def test_ports_come_and_go(self) -> None:
        made = plan((listener(1, 80), listener(2, 81)), listener(1, 82), listener(3, 81))
        self.assertEqual((made.ports.start, made.ports.stop), (spots(82, 3), spots(80, 2)))
        self.assertEqual((made.groups.start, made.groups.stop, made.groups.change), (spots(3), spots(2), spots(1)))
        lines = ["listener *:3 started", "listener *:1 changed (entrypoints +1 -1)", "listener *:2 stopped"]
        self.assertEqual(list(made.lines()), lines)

    def test_an_entrypoint_that_goes_to_another_listener_stays_bound(self) -> None:
        made = plan((listener(1, 80), listener(2)), listener(1), listener(2, 80))
        self.assertEqual(made.ports, NOTHING)
        self.assertEqual(made.groups.change, spots(1, 2))

    def test_a_port_that_changes_its_role_stays_bound(self) -> None:
        made = plan((listener(1, 80),), listener(80, 1))
        self.assertEqual(made.ports, NOTHING)
        self.assertEqual((made.groups.start, made.groups.stop), (spots(80), spots(1)))
