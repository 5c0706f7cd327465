"""Permissions: which user may do what with which tunnel: bind it, visit it, ask about it.

One rule per line, with three fields: what, who, which. Each field may be a comma-separated list; in the last two, ``*`` matches
any characters. What no rule allows is forbidden::

    # what       who            which
    bind         alice,team-*   nginx.local
    visit        bob            10bc451e-59dc-4c70-999e-91a30813ac78
    bind,visit   carol          *.dev.example.org,ssh.svc
    intercept    dave           shop.example.org
    admin        root           *
    reach,env,files dave           shop.example.org

*Which* is the ID of a tunnel, whole, or a host; ``*`` alone is every tunnel and every host, while ``a*`` is hosts only. A client
serves all hosts of its tunnel, so it may bind a tunnel by hosts only when every host that an ingress rule leads there is allowed.
``*.example.org`` is also ``example.org``, as in an ingress rule.

``*`` is the only wildcard, on purpose: then a pattern that matches the text of an ingress rule ``*.example.org`` matches every host
of that rule as well.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from enum import StrEnum
from uuid import UUID

from attrs import frozen

from rtunnel.ids import is_id, mask_ids
from rtunnel.routing.globs import Glob
from rtunnel.routing.ingress import normalise_host
from rtunnel.routing.lines import LineError, lines_of

__all__ = ["Action", "OwnerRule", "Permissions"]

_FORM = "write it like: bind,visit  alice,team-*  nginx.local"
# characters with a meaning in other syntaxes: other wildcards, exclusion, quotes
_NO_NAME = re.compile(r"[?\[\]!\"'\\]")

_EVERYTHING = "*"


class Action(StrEnum):
    """What a user does with a tunnel."""

    BIND = "bind"
    """Join it: the same as INTERCEPT and GLOBAL."""
    VISIT = "visit"
    """Open a connection through it, knowing its ID."""
    INTERCEPT = "intercept"
    """Join it for some requests only."""
    GLOBAL = "global"
    """Join it for a share of all requests."""
    LIST = "list"
    """See who has joined it, with all of their leases."""
    ADMIN = "admin"
    """End the leases of others."""
    REACH = "reach"
    """Connect to what its pod reaches."""
    ENV = "env"
    """Read the environment of its pod."""
    FILES = "files"
    """Read files of its pod."""

    @property
    def explicit(self) -> bool:
        """Whether nobody may do it without a rule that says so, also where there is no permissions file."""
        return self in _EXPLICIT


_EXPLICIT = (Action.ADMIN, Action.REACH, Action.ENV, Action.FILES)
_IMPLIED = {Action.BIND: (Action.BIND, Action.INTERCEPT, Action.GLOBAL)}
"""What else an action in a file allows."""


@frozen
class OwnerRule:
    """One line of permissions.

    :ivar actions: what is allowed.
    :ivar users: to whom; patterns.
    :ivar tunnels: with which tunnels; IDs, or ``*`` for all.
    :ivar hosts: with which hosts; patterns.
    """

    actions: frozenset[Action]
    users: tuple[Glob, ...]
    tunnels: frozenset[str]
    hosts: tuple[Glob, ...]

    @classmethod
    def parse(cls, text: str) -> OwnerRule:
        """Read a line.

        :raises ValueError: with what is wrong and how to fix it.
        """
        words = text.split()
        if len(words) != 3:
            raise ValueError(f"has {len(words)} word{'' if len(words) == 1 else 's'} and not three; {_FORM}")
        actions, users, things = words
        names = [_name(name) for name in _listed(things)]
        return cls(
            frozenset(action for name in _listed(actions) for action in _actions(name)),
            tuple(Glob(_name(name)) for name in _listed(users)),
            frozenset(name.lower() for name in names if name == _EVERYTHING or is_id(name)),
            tuple(pattern for name in names for pattern in _hosts(name)),
        )

    def of(self, user: str, action: Action) -> bool:
        """Whether the rule applies to this user and action."""
        return action in self.actions and any(pattern.matches(user) for pattern in self.users)

    def names_tunnel(self, tunnel: UUID) -> bool:
        """Whether the rule names a tunnel by its ID."""
        return _EVERYTHING in self.tunnels or str(tunnel) in self.tunnels

    def names_host(self, host: str) -> bool:
        """Whether the rule names a host."""
        return any(pattern.matches(host) for pattern in self.hosts)


def _listed(word: str) -> list[str]:
    names = word.split(",")
    if not all(names):
        raise ValueError(f'has a comma without a name beside it in "{mask_ids(word)}"; {_FORM}')
    return names


def _actions(name: str) -> Iterable[Action]:
    try:
        action = Action(name)
    except ValueError:
        raise ValueError(f'begins with "{mask_ids(name)}", which is none of {", ".join(Action)}; {_FORM}') from None
    return _IMPLIED.get(action, (action,))


def _name(name: str) -> str:
    if _NO_NAME.search(name):
        raise ValueError(f'has "{mask_ids(name)}", but * is the only wildcard and nothing is quoted; {_FORM}')
    return name


def _hosts(name: str) -> Iterable[Glob]:
    if ":" in name and not name.startswith("[") and name.count(":") == 1:
        raise ValueError(f'has a port in "{mask_ids(name)}"; a rule applies to a host on every port, leave the port out')
    name = normalise_host(name)
    yield Glob(name)
    if name.startswith("*."):
        yield Glob(name[2:])


class Permissions:
    """All rules of a permissions file; immutable (a reload makes a new one).

    :param rules: in any order: each one only allows.
    """

    __slots__ = ("rules",)

    def __init__(self, rules: Iterable[OwnerRule]) -> None:
        self.rules = tuple(rules)

    @classmethod
    def parse(cls, text: str) -> Permissions:
        """Parse the text of a permissions file.

        :raises LineError: for the first invalid line.
        """
        rules = []
        for number, line in lines_of(text):
            try:
                rules.append(OwnerRule.parse(line))
            except ValueError as error:
                raise LineError(number, str(error)) from None
        return cls(rules)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Permissions) and self.rules == other.rules

    def __hash__(self) -> int:
        return hash(self.rules)

    def may(self, user: str, action: Action, tunnel: UUID, hosts: Collection[str] = ()) -> bool:
        """Whether a user may do something with a tunnel.

        :param hosts: of the tunnel: for VISIT the host that the visitor requests, else the patterns of all ingress rules that lead
            to it; as :class:`~rtunnel.routing.ingress.IngressRule` and
            :func:`~rtunnel.routing.ingress.normalise_host` write them.
        :returns: true when the rules for this user name the tunnel, or every one of the hosts.
        """
        rules = [rule for rule in self.rules if rule.of(user, action)]
        if any(rule.names_tunnel(tunnel) for rule in rules):
            return True
        return bool(hosts) and all(any(rule.names_host(host) for rule in rules) for host in hosts)
