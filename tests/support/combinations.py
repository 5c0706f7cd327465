"""Tests that exist once for each way to combine transport, version of smux and whose program plays which role."""

from __future__ import annotations

from collections.abc import Collection
from itertools import product
from typing import ClassVar

from twisted.trial.unittest import TestCase

__all__ = ["TRANSPORTS", "VERSIONS", "Combination", "combinations"]

TRANSPORTS = ("tcp", "tls", "ws", "wss")
VERSIONS = (1, 2)


class Combination:
    """What such a class of tests says of itself: a cell of the matrix that ``make interop`` prints.

    :cvar kind: what is carried: the word for it in the matrix.
    :cvar roles: who takes part.
    :cvar transport: the scheme after ``tunnel+``.
    :cvar mux_version: of smux.
    :cvar gosts: the roles that a gost plays.
    """

    kind: ClassVar[str]
    roles: ClassVar[tuple[str, ...]] = ("server", "client")
    transport: ClassVar[str] = "ws"
    mux_version: ClassVar[int] = 2
    gosts: ClassVar[frozenset[str]] = frozenset()

    @classmethod
    def deviation(cls) -> str:
        """What is asked less of this combination, because of what a gost does; empty when all is asked."""
        return ""


def combinations(
    tests: type[Combination], transports: Collection[str] = TRANSPORTS, versions: Collection[int] = VERSIONS
) -> dict[str, type]:
    """Make a test class for each transport, version of smux and way to give the roles to ours and to gosts.

    :returns: the classes by name, for the module's namespace, where trial finds them.
    """
    classes: dict[str, type] = {}
    for transport, version, ours in product(transports, versions, product((True, False), repeat=len(tests.roles))):
        permissions = list(zip(tests.roles, ours, strict=True))
        who = "".join(f"{'Our' if own else 'Gost'}{role.capitalize()}" for role, own in permissions)
        name = f"{tests.__name__}{transport.capitalize()}Smux{version}{who}"
        gosts = frozenset(role for role, own in permissions if not own)
        body = {"transport": transport, "mux_version": version, "gosts": gosts, "__module__": tests.__module__}
        classes[name] = type(name, (tests, TestCase), body)
    return classes
