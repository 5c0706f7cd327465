"""The settings of ``rtunnel dev``."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Final

import attrs

from rtunnel.config.expansion import user_of
from rtunnel.config.layout import DEV_LAYOUT
from rtunnel.options.layers import Layer, OptionValue, RawOption, require
from rtunnel.profiles.choosing import choose
from rtunnel.roles.client import connectors
from rtunnel.roles.merging import Merged, Sources
from rtunnel.roles.role import Resolved, Role
from rtunnel.settings import ClientSettings, ConnectorSettings, DevSettings, SettingsError

__all__ = ["COMMAND", "DEV_ROLE", "HOST"]

HOST: Final = "HOST"
COMMAND: Final = "COMMAND"
"""The names under which the words of a command line are given."""
_TAKING: Final = ("weight", "intercept", "session")
"""The settings that say which requests are taken."""
_NO_SESSION = re.compile(r"[^A-Za-z0-9_-]+")
MAX_SESSION: Final = 64


def _merge(options: Iterable[RawOption], environ: Mapping[str, str]) -> Merged:
    """Merge the options of all places. The file may name a profile in place of a host, as the command line may."""
    options = list(options)
    sources = Sources.read(options, environ, DEV_LAYOUT)
    given = sources.command_line.layer.get("pod_host") or (sources.file.base.get("pod_host") if sources.file is not None else None)
    host, chosen = choose(given.value if given is not None else "", options, environ)
    merged = Sources.read(chosen, environ, DEV_LAYOUT).merge(())
    return _with(merged, "pod_host", OptionValue(given.key if given is not None else HOST, None, host)) if host else merged


def _with(merged: Merged, field: str, value: OptionValue) -> Merged:
    """The same with one value."""
    return attrs.evolve(merged, base={**merged.base, field: value}, items=tuple({**layer, field: value} for layer in merged.items))


def _validate(merged: Merged, environ: Mapping[str, str]) -> Resolved[DevSettings]:
    if not merged.base.keys() & set(_TAKING):
        merged = _with(merged, "session", OptionValue("session", None, _own_session(merged.base, environ)))
    built: tuple[ConnectorSettings, ...] = merged.each(partial(_connectors, environ))
    client = merged.construct(ClientSettings, connectors=built)
    run = _command(merged.base["run"]) if "run" in merged.base else None
    if run is not None:
        merged = _with(merged, "run", run)
    return Resolved(merged.construct(DevSettings, client=client), merged.warnings)


def _connectors(environ: Mapping[str, str], layer: Layer) -> Iterator[ConnectorSettings]:
    hint = "say which host you work on, e.g. rtunnel dev shop.example.org; the name of a profile will do"
    require(layer, "pod_host", HOST, hint)
    require(layer, "target", "--target", "say where your application listens, e.g. --target :3000; rtunnel run does without")
    return connectors(environ, layer)


def _own_session(layer: Layer, environ: Mapping[str, str]) -> str:
    """The name of a session that nobody else has: that of the user, at the server or here."""
    credentials = layer.get("credentials")
    user = credentials.value.user if credentials is not None else user_of(environ)
    return _NO_SESSION.sub("-", user)[:MAX_SESSION] or "dev"


def _command(given: OptionValue) -> OptionValue:
    """A command as words; a file may have it as one text, as it is typed."""
    words = given.value
    if given.key == COMMAND or len(words) > 1:
        return given
    try:
        words = tuple(shlex.split(words[0]))
    except ValueError:
        raise SettingsError(given.key, None, "has a quote that is never closed; close it, or write a list of words") from None
    if not words:
        raise SettingsError(given.key, None, "is empty; write a command, or leave it out")
    return attrs.evolve(given, value=words)


DEV_ROLE: Final = Role(DEV_LAYOUT, _merge, _validate)
