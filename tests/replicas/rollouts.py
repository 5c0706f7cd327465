"""Rollouts: servers that are restarted one after the other, under load, and lose nothing."""

from __future__ import annotations

import os
from collections.abc import Callable

import attrs

from tests.replicas.site import PATIENCE, Site
from tests.replicas.visitors import Transfers, Upgraded
from tests.support.load import Load
from tests.support.processes import wait_until

__all__ = ["Result", "roll"]

WARM = 50
"""Requests between two steps."""


@attrs.define
class Result:
    """What visitors saw.

    :ivar restarts: of servers.
    :ivar requests: that were answered.
    :ivar failed: requests, transfers and upgraded connections that failed, each with its reason.
    :ivar transfers: that ended well.
    :ivar echoes: over upgraded connections.
    :ivar forwarded: streams between servers.
    :ivar faults: processes with an error of their own.
    """

    restarts: int = 0
    requests: int = 0
    failed: list[str] = attrs.field(factory=list)
    transfers: int = 0
    echoes: int = 0
    forwarded: int = 0
    faults: list[str] = attrs.field(factory=list)

    def __str__(self) -> str:
        return (
            f"{self.restarts} restarts: {self.requests} requests, {self.transfers} transfers and {self.echoes} echoes of upgraded "
            f"connections went well, {self.forwarded} streams between servers; {len(self.failed)} failed, "
            f"{len(self.faults)} processes had an error"
        )


def roll(
    rounds: int,
    *,
    rate: float = 300.0,
    size: int = 200 << 20,
    seconds: float = 6.0,
    say: Callable[[str], None] = lambda line: None,
) -> Result:
    """Restart two servers, one after the other, so many times.

    A sidecar is attached to both of them, a laptop to one, and so is a gost, where there is one: a quarter of the requests cross
    from one server to the other, more or less. The upgraded connections have a tunnel of their own, with a client at both: one
    that is attached to the server that stops ends with it, wherever its visitor is.

    :param rate: requests a second.
    :param size: bytes of a download and an upload that run all the time.
    :param seconds: how long each takes at least.
    """
    result = Result()
    with Site(2, options=("--drain=30",)) as site:
        site.sidecar()
        site.wait_ready()
        site.laptop().wait_for("joined tunnel")
        # one that hears nothing of rollouts, where there is a gost
        clients = 2
        if os.environ.get("RTUNNEL_TEST_GOST"):
            site.gost(1, site.pod.port)
            clients = 3
        wait_until(lambda: site.rows() == [clients] * 2, "each server has all clients, once", PATIENCE)
        with Load(site.port, "pod.local", rate=rate) as load, Transfers(site.port, size, seconds) as transfers:
            for number in range(rounds):
                for replica in site.replicas:
                    _more(load, WARM)
                    site.lead_away(replica)
                    # at the other server, and the client there: one at a server that stops ends with it
                    wait_until(lambda: all(map(site.has_long, site.replicas)), "each server has the client for what lasts")
                    with Upgraded(site.port) as upgraded:
                        site.lead_to(replica)
                        _more(load, WARM)
                        result.forwarded += replica.counts()["rtunnel_peer_streams_total"]
                        replica.stop()
                        replica.start()
                        replica.wait_ready()
                        _more(load, WARM)
                    result.restarts += 1
                    result.echoes += upgraded.echoes
                    if upgraded.failed:
                        result.failed.append(f"an upgraded connection at the other server: {upgraded.failed}")
                wait_until(lambda: site.rows() == [clients] * 2, "each server has all clients again, once", PATIENCE)
                failed = len(load.failed), len(transfers.failed)
                say(f"round {number + 1}: {load.total} requests, {failed[0]} failed; {failed[1]} transfers failed")
    result.requests = len(load.succeeded)
    result.transfers = transfers.done
    result.failed += [what for _, what in (*load.failed, *transfers.failed)]
    result.faults = site.faults
    return result


def _more(load: Load, count: int) -> None:
    before = load.total
    wait_until(lambda: load.total >= before + count, f"{count} more requests")
