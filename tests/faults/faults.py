"""Parts that fail, while visitors send requests: what they see of it, and for how long."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from time import monotonic, sleep
from typing import Any

from attrs import field, frozen

from tests.faults.load import SLOW, Load, Tally
from tests.faults.parties import OURS, Party
from tests.faults.site import HOST, LAPTOP, POD, Site
from tests.support.processes import wait_until

__all__ = ["FAULTS", "Fault", "run"]

BEFORE = 1.0
"""Seconds of requests before the fault; those that it finds on their way count."""
AFTER = 2.0
"""Seconds of requests after its end: what comes back must not cost anybody anything."""
PATIENCE = 20.0
"""Seconds that a visitor waits for an answer."""


@frozen
class Fault:
    """One fault.

    :param name: what happens.
    :param role: to whom.
    :param strike: makes it happen.
    :param heal: ends it, after ``seconds``.
    :param site: how the processes are started: arguments of :class:`~tests.faults.site.Site`.
    :param load: how visitors come: arguments of :class:`~tests.faults.load.Load`.
    :param costs: the failures that it may cost: a method and what its visitor saw.
    :param within: seconds until the last request that fails or is slow.
    """

    name: str
    role: str
    strike: Callable[[Site], None]
    heal: Callable[[Site], None] = lambda site: None
    seconds: float = 8.0
    site: Mapping[str, Any] = field(factory=dict)
    load: Mapping[str, Any] = field(factory=dict)
    costs: frozenset[str] = frozenset()
    within: float = 5.0

    def missed(self, tally: Tally) -> list[str]:
        """The goals that were not reached."""
        found = sorted(set(tally.failures) - self.costs)
        return found + ([f"recovery > {self.within:g} s"] if tally.recovery > self.within else [])

    def lasts(self, tally: Tally) -> bool:
        """Whether the trouble lasted as long as the fault."""
        return tally.recovery > self.seconds - SLOW


def run(fault: Fault, party: Party = OURS, transport: str = "ws", *, before: float = BEFORE, after: float = AFTER) -> Tally:
    """Run one fault.

    :returns: what became of the requests, those on their way when it began included.
    """
    with Site(party, transport, **fault.site) as site:
        site.join_laptop()
        load = Load(site.port, HOST, tls=site.tls, patience=PATIENCE, **fault.load)
        try:
            wait_until(lambda: load.served_by(LAPTOP), "the laptop serves")
            sleep(before)
            struck = monotonic()
            fault.strike(site)
            sleep(fault.seconds)
            fault.heal(site)
            sleep(after)
        finally:
            requests = load.stop()
    return Tally.of([request for request in requests if request.began + request.waited > struck], struck)


def _signals(name: str, number: signal.Signals) -> Callable[[Site], None]:
    return lambda site: site.clients[name].send(number)


def _target_signals(number: signal.Signals) -> Callable[[Site], None]:
    return lambda site: site.targets[LAPTOP].send(number)


def _kill_target(site: Site) -> None:
    site.kill(site.targets[LAPTOP])


def _start_target(site: Site) -> None:
    site.start_target(LAPTOP)


def _restart_server(number: signal.Signals) -> Callable[[Site], None]:
    def restart(site: Site) -> None:
        site.kill(site.server, number)
        site.start_server()

    return restart


def _cut(site: Site) -> None:
    assert site.machine is not None
    site.machine.cut()


def _heal(site: Site) -> None:
    assert site.machine is not None
    site.machine.heal()


def _restart_pod(site: Site) -> None:
    site.kill(site.clients[POD])
    site.start_client(POD)


INGRESS = {"ingress": True}
SHARED = {"weight": 1}
UNREPEATABLE = frozenset({"POST 502"})
"""What was on its way to a client that is gone, and must not be sent twice."""
BROKEN_OFF = UNREPEATABLE | {"POST cut", "GET cut"}
"""The same, and answers that had begun."""
DOWN = BROKEN_OFF | {f"{method} {kind}" for method in ("GET", "POST") for kind in ("refused", "503")}
"""While nobody listens, or no client has come back yet."""

_stop, _continue = _signals(LAPTOP, signal.SIGSTOP), _signals(LAPTOP, signal.SIGCONT)
_hang, _resume = _target_signals(signal.SIGSTOP), _target_signals(signal.SIGCONT)

FAULTS = [
    Fault("stopped (SIGSTOP)", "laptop, weight 255", _stop, _continue, 10, costs=UNREPEATABLE),
    Fault("stopped (SIGSTOP)", "laptop, weight 1", _stop, _continue, 10, SHARED, costs=UNREPEATABLE),
    Fault("cut off (packets dropped)", "laptop, weight 255", _cut, _heal, 10, {"away": True}, costs=UNREPEATABLE),
    Fault("killed (SIGKILL)", "laptop, weight 255", _signals(LAPTOP, signal.SIGKILL), seconds=4, costs=BROKEN_OFF),
    Fault("ended (SIGTERM)", "laptop, weight 255", _signals(LAPTOP, signal.SIGTERM), seconds=4),
    Fault("down", "laptop's service", _kill_target, seconds=5, costs=UNREPEATABLE),
    Fault("restarted after 3 s", "laptop's service", _kill_target, _start_target, 3, costs=UNREPEATABLE),
    # a service that takes its time is not a fault: its requests wait for it
    Fault("hung for 5 s (SIGSTOP)", "laptop's service", _hang, _resume, 5, within=6),
    Fault("killed and restarted", "pod, beside a laptop of weight 1", _restart_pod, seconds=4, site=SHARED, costs=BROKEN_OFF),
    Fault("SIGTERM and restarted", "server", _restart_server(signal.SIGTERM), seconds=8, costs=DOWN),
    Fault("SIGKILL and restarted", "server", _restart_server(signal.SIGKILL), seconds=8, costs=DOWN),
    Fault("reloaded", "nginx", Site.reload_ingress, seconds=5, site=INGRESS, costs=BROKEN_OFF),
    Fault("restarted", "nginx", Site.restart_ingress, seconds=8, site=INGRESS, costs=DOWN),
    # a link is quiet only without visitors: ten at once, then a pause in which it is cut
    Fault(
        "cuts WebSockets that are quiet for 3 s",
        "nginx",
        lambda site: None,
        seconds=12,
        site={**INGRESS, "quiet": 3},
        load={"rate": 0.25, "burst": 10},
    ),
]
"""All faults, in the order of the table."""
