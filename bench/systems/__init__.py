"""Every system that can be measured, in the order of the tables."""

from __future__ import annotations

from bench.proc import BenchError
from bench.systems.base import Ability, Setup, System
from bench.systems.gost import Gost, GostWss
from bench.systems.nginx import Direct, Hop
from bench.systems.peers import Chisel, Frp, Piko, Rathole
from bench.systems.rtunnel import (
    Rtunnel,
    RtunnelBalanced,
    RtunnelBefore,
    RtunnelEpoll,
    RtunnelInterpreted,
    RtunnelRemote,
    RtunnelShared,
    RtunnelWorkers,
    RtunnelWss,
)
from bench.systems.tunnel import Visited

__all__ = ["BEFORE", "DIRECT", "HOP", "Ability", "Setup", "System", "choose", "every_system"]

#: The two that all others are compared with.
DIRECT = "direct"
HOP = "hop"

#: Another rtunnel, for what a change did.
BEFORE = "before"


def every_system() -> list[System]:
    """All systems, ours first after the two baselines."""
    ours, gost, gost_kept = (
        Rtunnel("rtunnel", "rtunnel"),
        Gost("gost", "gost, default"),
        Gost("gost-keepalive", "gost, entrypoint.keepalive", keepalive=True),
    )
    return [
        Direct(DIRECT, "nginx direct, no hop"),
        Hop(HOP, "nginx proxy_pass, one hop"),
        ours,
        RtunnelBefore(BEFORE, "rtunnel before"),
        RtunnelInterpreted("rtunnel-interpreted", "rtunnel, not compiled"),
        RtunnelEpoll("rtunnel-epoll", "rtunnel, stock epoll reactor"),
        RtunnelWss("rtunnel-wss", "rtunnel, wss"),
        RtunnelShared("rtunnel-shared", "rtunnel, with a registry"),
        RtunnelRemote("rtunnel-remote", "rtunnel, client at another server"),
        RtunnelWorkers("rtunnel-workers", "rtunnel, two workers"),
        RtunnelBalanced("rtunnel-one", "rtunnel, one server behind nginx", 1),
        RtunnelBalanced("rtunnel-two", "rtunnel, two servers behind nginx", 2),
        Visited("rtunnel-private", "rtunnel, private TCP through a visitor", ours),
        gost.on_server_of(ours, "gost-on-rtunnel", "gost's client on rtunnel's server"),
        ours.on_server_of(gost_kept, "rtunnel-on-gost", "rtunnel's client on gost's server, keepalive"),
        gost,
        gost_kept,
        GostWss("gost-wss", "gost, wss"),
        Visited("gost-private", "gost, private TCP through a visitor", gost),
        Rathole("rathole", "rathole"),
        Chisel("chisel", "chisel"),
        Frp("frp", "frp, http over websocket"),
        Piko("piko", "piko, http"),
    ]


def choose(names: str | None) -> list[System]:
    """The systems with these names (with commas between), all without names. The two baselines always take part.

    :raises BenchError: for a name that is none.
    """
    systems = every_system()
    if names is None:
        return systems
    wanted = {name.strip() for name in names.split(",") if name.strip()}
    known = [system.name for system in systems]
    for name in sorted(wanted - set(known)):
        raise BenchError(f"--systems {name}: no such system; there are {', '.join(known)}")
    return [system for system in systems if system.name in wanted | {DIRECT, HOP}]
