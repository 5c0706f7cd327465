"""Leases as a table for a terminal, or as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rtunnel.asking.question import Listing, lines
from rtunnel.status.tables import duration_text
from rtunnel.wire.control import Done, Listed

__all__ = ["print_answer", "print_leases"]

_COLUMNS = ("lease", "host", "who", "requests", "reason", "since", "ends in", "last request", "link")
WIDTH = 200
"""Columns where no terminal says how many it has."""


def print_answer(listed: Sequence[Listing], done: Done, *, json: bool) -> None:
    """Print what a server said of leases.

    :param json: one object a line rather than a table.
    """
    if json:
        print(*lines(listed, done), sep="\n")
        return
    print_leases(listed)
    if done.text:
        print(done.text)


def print_leases(listed: Iterable[Listing]) -> None:
    """Print a table. Everything in it was made printable as it was read; nothing is markup."""
    table = Table(box=None, header_style="dim", pad_edge=False)
    for column in _COLUMNS:
        table.add_column(column, overflow="fold")
    for lease in (one for one in listed if isinstance(one, Listed)):
        table.add_row(*map(Text, _row(lease)))
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH)
    console.print(table if table.rows else "nobody has joined")


def _row(lease: Listed) -> tuple[str, ...]:
    who = lease.name if lease.holder in ("", lease.name) else f"{lease.holder} ({lease.name})" if lease.name else lease.holder
    return (
        lease.lease or "-",
        lease.hosts or lease.tunnel,
        who or "?",
        lease.what,
        lease.reason or "-",
        f"{duration_text(lease.age)} ago" if lease.lease else "-",
        duration_text(lease.left) if lease.left else "-",
        f"{duration_text(lease.used)} ago" if lease.used >= 0 else "-",
        "lost" if lease.state == "held" else "up",
    )
