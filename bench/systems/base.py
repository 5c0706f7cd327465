"""What a system is to the benchmark."""

from __future__ import annotations

import enum
import os
import shutil
import subprocess
import uuid
from abc import ABC, abstractmethod
from dataclasses import dataclass

from bench.stage import Stage

#: The tunnel that visitors reach.
TUNNEL = uuid.UUID("5f3a9f60-6d2c-4b8e-9a51-0c7c2f6f0001")

#: Name of the access log.
ACCESS_LOG = "access.log"


class Ability(enum.Enum):
    """What not every system can do, or can be asked to do here."""

    PAIR = "two connectors share the requests"
    RULES = "many ingress rules"
    TUNNELS = "many tunnels, a connector each"
    POOL = "many connectors of one tunnel"
    DATAGRAMS = "UDP"
    TRUST = "visitors' X-Forwarded-* believed or not"
    ACCESS_LOG = "a line for each request in a file"
    FILTERS = "clients that want some requests only"


@dataclass(frozen=True, slots=True)
class Setup:
    """What a case asks of a system.

    :param targets: loopback ports of the local services; with two of them each has a connector of the same weight.
    :param rules: how many ingress rules the server has; one of them leads to the tunnel.
    :param tunnels: how many tunnels exist, each with one connector; one of them is visited.
    :param connectors: how many connectors the visited tunnel has for each target.
    :param datagrams: whether visitors come with UDP, and the target is one of UDP.
    :param trusted: whether visitors are an Ingress, whose X-Forwarded-* are believed by a system that asks.
    :param access_log: ``text`` or ``json`` for an access log, which is the file :data:`ACCESS_LOG` on the stage.
    :param filters: how many filters of personal intercepts the visited tunnel has beside, none of which matches a request.
    """

    targets: tuple[int, ...]
    rules: int = 1
    tunnels: int = 1
    connectors: int = 1
    datagrams: bool = False
    trusted: bool = False
    access_log: str | None = None
    filters: int = 0


class System(ABC):
    """One way to reach the local service.

    :param name: short, for ``--systems`` and JSON.
    :param title: for tables.
    """

    #: What it looks at to choose the way: ``HTTP``, ``TCP``, or ``-`` for nothing to choose.
    routes = "-"
    can: frozenset[Ability] = frozenset()
    #: Names of the cases that it is measured in when no system is named; None for all.
    cases: frozenset[str] | None = None

    def __init__(self, name: str, title: str) -> None:
        self.name = name
        self.title = title

    def absent(self) -> str | None:
        """Why it can't be measured here; None when it can."""
        return None

    @abstractmethod
    def version(self) -> str:
        """Name and version of the software."""

    @abstractmethod
    def start(self, setup: Setup, stage: Stage) -> int:
        """Start every process on the stage, and return once a request goes through.

        :returns: the port for visitors.
        :raises BenchError: when it does not come up.
        """


def other_rules(count: int) -> list[tuple[str, uuid.UUID]]:
    """Ingress rules that lead elsewhere: ``count`` - 1 of them, as host and tunnel."""
    return [(f"h{number:05}.bench.local", other_tunnel(number)) for number in range(1, count)]


def other_tunnel(number: int) -> uuid.UUID:
    """The tunnel with this number; 0 is :data:`TUNNEL`."""
    return uuid.UUID(int=TUNNEL.int + number)


#: Filters of one client at most.
_FILTERS_EACH = 10


def filtering(count: int) -> list[list[str]]:
    """Filters that match no visitor, as people write them: those of each client."""
    filters = [f"header:X-User=user-{number}; path^=/api" for number in range(count)]
    return [filters[first : first + _FILTERS_EACH] for first in range(0, count, _FILTERS_EACH)]


def variable_missing(*names: str) -> str | None:
    """Why a peer is skipped, when one of its variables names no program."""
    for name in names:
        path = os.environ.get(name)
        if not path:
            return f"{name} is not set"
        if shutil.which(path) is None:
            return f"{name} names no program"
    return None


def program(variable: str) -> str:
    """The program that a variable names."""
    return shutil.which(os.environ[variable]) or os.environ[variable]


def first_line(argv: list[str], containing: str = "", env: dict[str, str] | None = None) -> str:
    """The first line of a command's output that contains a text; ``unknown`` when there is none."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False, env={**os.environ, **(env or {})})
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    lines = (done.stdout + done.stderr).splitlines()
    return next((line.strip() for line in lines if containing in line and line.strip()), "unknown")
