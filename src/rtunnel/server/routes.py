"""The active ingress rules: those of the settings, and those of a watched file."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, cast

from twisted.logger import Logger

from rtunnel.ids import describe_examples
from rtunnel.masking import mask
from rtunnel.ops.file_watch import FileWatcher
from rtunnel.ops.start import StartError
from rtunnel.routing.ingress import IngressRule, IngressTable
from rtunnel.routing.rules_file import RulesError, read_rules
from rtunnel.settings.checks import plain

__all__ = ["MAX_FILE", "Routes"]

POLL_INTERVAL = 1.0
"""Seconds between two checks of the file."""
MAX_FILE = 16 * 2**20
"""Maximum size of the file, in bytes."""
MAX_SHOWN = 10
"""Maximum number of faults that are logged per file; the rest is counted."""


class _Unreadable(Exception):
    """A file cannot be used; one line per fault."""

    def __init__(self, lines: Iterable[str]) -> None:
        self.lines = tuple(lines)
        super().__init__("; ".join(self.lines))


class Routes:
    """The rules of some entrypoints; owned by the service, which starts and stops the watch.

    A change of the file replaces the whole table. A file that cannot be read or contains an invalid rule changes nothing.

    :param rules: those of the settings; active regardless of the file.
    :param file: the path of the file, None for none.
    :ivar table: the active rules.
    :ivar tunnels: the tunnels of the active rules.
    :raises StartError: when the file cannot be used at the start.
    """

    def __init__(self, rules: tuple[IngressRule, ...], file: str | None, *, reactor: Any) -> None:
        self.table = IngressTable(rules)
        self._fixed = rules
        self._file = file
        self.tunnels = frozenset(rule.tunnel for rule in rules)
        self._changed: Callable[[], None] = lambda: None
        self._log = Logger()
        self._watcher = FileWatcher((file,) if file is not None else (), self._reload, reactor, interval=POLL_INTERVAL)
        if file is not None:
            try:
                self._apply(self._read(file))
            except _Unreadable as error:
                more = f" (and {len(error.lines) - 1} more)" if len(error.lines) > 1 else ""
                raise StartError(error.lines[0] + more) from None

    def start(self, changed: Callable[[], None]) -> None:
        """Start watching the file.

        :param changed: called after each change of the rules.
        """
        self._changed = changed
        self._watcher.start()

    def stop(self) -> None:
        """Stop watching the file."""
        self._watcher.stop()

    # -- the file

    def _reload(self) -> None:
        try:
            self._apply(self._read(cast(str, self._file)))
        except _Unreadable as error:
            for line in error.lines:
                self._log.error("{line}", line=line)
            self._log.error(
                "the rules stay as they were, because {file} cannot be used; fix it, it will be read again", file=self._file
            )

    def _read(self, file: str) -> tuple[IngressRule, ...]:
        try:
            with open(file, "rb") as stream:
                data = stream.read(MAX_FILE + 1)
        except OSError as error:
            raise _Unreadable([f"{plain(file, None)}: cannot be read: {error.strerror or error}"]) from None
        if len(data) > MAX_FILE:
            raise _Unreadable([f"{plain(file, None)}: is larger than {MAX_FILE >> 20} MiB, which is too large for ingress rules"])
        try:
            return read_rules(data.decode("utf-8-sig"), self._fixed)
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            raise _Unreadable([f"{plain(file, None)}:{line}: is not UTF-8 text; write host names in their xn-- form"]) from None
        except RulesError as error:
            path = plain(file, None)
            shown = [(fault.line, plain(mask(fault.text)), fault.hint) for fault in error.faults[:MAX_SHOWN]]
            lines = [f'{path}:{line}: "{text}": {hint}' for line, text, hint in shown]
            more = len(error.faults) - MAX_SHOWN
            raise _Unreadable([*lines, f"{path}: and {more} more"] if more > 0 else lines) from None

    def _apply(self, rules: tuple[IngressRule, ...]) -> None:
        """Activate the rules of the file."""
        before = {rule.pattern: rule for rule in self.table.rules}
        self.table = IngressTable((*self._fixed, *rules))
        self.tunnels = frozenset(rule.tunnel for rule in self.table.rules)
        now = {rule.pattern: rule for rule in self.table.rules}
        self._log.info(
            "rules of {file}: {added} added, {removed} removed, {changed} changed, {total} in force",
            file=self._file,
            added=len(now.keys() - before.keys()),
            removed=len(before.keys() - now.keys()),
            changed=sum(before[pattern] != now[pattern] for pattern in before.keys() & now.keys()),
            total=len(now),
        )
        for warning in describe_examples(rule.tunnel for rule in rules):
            self._log.warn("{text}", text=warning)
        self._changed()
