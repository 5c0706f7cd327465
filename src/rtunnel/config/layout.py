"""The keys of a configuration file and their meaning, both of which follow from the table of options.

- A key is the long name of its option: ``--head-timeout`` is ``head-timeout``. ``--no-pool`` is ``pool: false``.
- The group of its setting is the map around it: ``http.head_timeout`` is under ``http:``. A name does not repeat its group:
  ``mux-version`` under ``mux:`` is ``version``. An option with the name of its group, ``--access-log``, has the last word of its
  setting, ``file`` under ``access-log:``.
- A repeatable option has a plural for a list (``entrypoints:``), besides the singular for one value (``entrypoint:``). Rules,
  ``HOST=UUID`` on the command line, can be a map as well.
- Where that would be no word, ``exclude`` for example, one key takes both.
- Everything but the settings of the whole process can be in each item of one list, ``listeners:``, ``connectors:`` or
  ``visitors:``. A key beside the list is the default for all items; without the list, those keys are the only item.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import attrs

from rtunnel.options import kinds
from rtunnel.options.dev import DEV, DEV_VARIABLES
from rtunnel.options.kinds import Kind
from rtunnel.options.table import CLIENT, SERVER, VISITOR, Option

__all__ = [
    "CLIENT_LAYOUT",
    "CONFIG",
    "DEV_LAYOUT",
    "LAYOUTS",
    "PROFILE",
    "SERVER_LAYOUT",
    "VISITOR_LAYOUT",
    "FileLayout",
    "Group",
    "Leaf",
]

CONFIG = "config"
"""The option for the file itself, which is not a key in it."""
PROFILE = "profile"
"""The option for a profile, which lies below the file, and is not a key in it either."""


@attrs.frozen
class Leaf:
    """A key with a value.

    :ivar option: of which it is the key.
    :ivar kind: how its value is parsed.
    :ivar plural: whether it is the key for several values.
    :ivar single: whether it is the key for one value.
    """

    option: Option
    kind: Kind
    plural: bool = False
    single: bool = True

    @property
    def pairs(self) -> bool:
        """Whether its values are pairs, so that a map can hold them."""
        return self.plural and "=" in self.kind.metavar

    @property
    def is_file(self) -> bool:
        """Whether its value is the name of a file, relative to the directory of the configuration file."""
        return self.kind.metavar == "FILE"


@attrs.frozen
class Group:
    """A map with known keys."""

    keys: Mapping[str, Leaf | Group]

    def leaves(self, path: str = "") -> Iterator[tuple[str, Leaf]]:
        """All keys with a value, in this map and in those below, each with its path."""
        for name, key in self.keys.items():
            if isinstance(key, Group):
                yield from key.leaves(f"{path}{name}.")
            else:
                yield path + name, key


@attrs.frozen
class FileLayout:
    """What the configuration file of a role can hold.

    :ivar role: ``server``, ``client``, ``visitor`` or ``dev``.
    :ivar rows: the options of that role.
    :ivar list_key: the key of the list; ``""`` if it has none.
    :ivar item: what one element of the list is called.
    :ivar variables: those that can be variables of the environment; by default all.
    :ivar expanded: keys in whose values ``${NAME}`` is a variable of the environment.
    """

    role: str
    rows: tuple[Option, ...]
    list_key: str = ""
    item: str = ""
    variables: tuple[Option, ...] = attrs.field(kw_only=True)
    expanded: frozenset[str] = attrs.field(default=frozenset(), kw_only=True)

    @variables.default
    def _all_rows(self) -> tuple[Option, ...]:
        return self.rows

    @property
    def process(self) -> Group:
        """The keys for the whole process."""
        return _group(option for option in self.rows if option.process)

    @property
    def items(self) -> Group:
        """The keys of each item; they can be at the top as well."""
        return _group(option for option in self.rows if not option.process)

    @property
    def top(self) -> Group:
        """The keys at the top, without the list."""
        return _group(self.rows)


def _group(rows: Iterable[Option]) -> Group:
    top: dict[str, Leaf | Group] = {}
    for option in rows:
        if not option.field or option.name in (CONFIG, PROFILE):
            continue
        *groups, _ = option.field.replace("_", "-").split(".")
        keys = top
        for name in groups:
            inside = keys.setdefault(name, Group({}))
            assert isinstance(inside, Group) and isinstance(inside.keys, dict)
            keys = inside.keys
        keys.update(_leaves(option, groups))
    return Group(top)


def _leaves(option: Option, groups: list[str]) -> Iterator[tuple[str, Leaf]]:
    name, kind = option.name, option.kind
    if kind is kinds.NOT:
        name, kind = name.removeprefix("no-"), kinds.SWITCH
    if groups and name == groups[-1]:
        name = option.field.rpartition(".")[2].replace("_", "-")
    elif groups:
        name = name.removeprefix(f"{groups[-1]}-")
    yield name, Leaf(option, kind, plural=option.one_key)
    if option.many and not option.one_key:
        yield _plural(name), Leaf(option, kind, plural=True, single=False)


def _plural(name: str) -> str:
    return name[:-1] + "ies" if name.endswith("y") else name + "s"


SERVER_LAYOUT = FileLayout("server", SERVER, "listeners", "listener")
CLIENT_LAYOUT = FileLayout("client", CLIENT, "connectors", "connector")
VISITOR_LAYOUT = FileLayout("visitor", VISITOR, "visitors", "visitor")
LAYOUTS = (SERVER_LAYOUT, CLIENT_LAYOUT, VISITOR_LAYOUT)
"""Of the processes that serve."""
DEV_LAYOUT = FileLayout(
    "dev", DEV, variables=DEV_VARIABLES, expanded=frozenset(("session", "name", "reason", "intercept", "intercepts"))
)
