"""What was typed, what stands in the environment and what the URLs say, laid together: the settings of a process.

The environment lies below the command line, and that below a URL of gost, which speaks for its own listener or connector.
Either the plain option names a place or a URL does, ``--listen`` or ``-L``; what the command line says decides which.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Generic, TypeVar

import attrs

from rtunnel import urls
from rtunnel.options import environment
from rtunnel.options.layers import Given, Layer, construct, overlay, put, require
from rtunnel.options.table import CLIENT, SERVER, Option
from rtunnel.settings import (
    ClientSettings,
    ConnectorSettings,
    ForwardSettings,
    HttpSettings,
    ListenerSettings,
    MuxSettings,
    ServerSettings,
    SettingsError,
)

__all__ = ["Asked", "Typed", "ask_client", "ask_server"]

Typed = tuple[Option, str, str]
"""An option, the name under which it was given (``--path``, ``RTUNNEL_PATH``) and its text."""

_Settings = TypeVar("_Settings")


@attrs.frozen
class Asked(Generic[_Settings]):
    """What the user asked for.

    :ivar settings: checked.
    :ivar warnings: what was asked in vain, one line each.
    """

    settings: _Settings
    warnings: tuple[str, ...]


@attrs.frozen
class _Source:
    """The options of one place: single ones as a layer, gost's URLs as they were written."""

    layer: Layer = attrs.field(factory=dict)
    urls: dict[str, list[tuple[str, str]]] = attrs.field(factory=dict)

    @classmethod
    def read(cls, typed: Iterable[Typed]) -> _Source:
        source = cls()
        for option, key, text in typed:
            if not option.field:
                source.urls.setdefault(option.name, []).append((key, text))
            elif option.many:
                put(source.layer, option, key, text)
            else:
                source._add(option, key, text)
        return source

    def _add(self, option: Option, key: str, text: str) -> None:
        piece: Layer = {}
        put(piece, option, key, text)
        for field, given in piece.items():
            before = self.layer.get(field)
            if before is not None and before.key != key:
                raise SettingsError(key, None, f"says the same as {before.key}; give one of them")
            self.layer[field] = given

    def without(self, field: str) -> _Source:
        """The same without an option and all that it implied."""
        given = self.layer.get(field)
        layer = {name: other for name, other in self.layer.items() if given is None or other.key != given.key}
        return _Source(layer, self.urls)

    def without_urls(self, name: str) -> _Source:
        return _Source(self.layer, {other: texts for other, texts in self.urls.items() if other != name})


def ask_server(typed: Iterable[Typed], environ: Mapping[str, str]) -> Asked[ServerSettings]:
    """The settings of a server.

    :param typed: the command line; it wins over the environment.
    :param environ: the environment.
    :raises SettingsError: something cannot be had.
    """
    for name in ("RTUNNEL_AUTH", "RTUNNEL_AUTH_FILE"):
        if environ.get(name):
            raise SettingsError(name, None, "is for clients; a server cannot ask for a password yet, so it does not start")
    line, around = _Source.read(typed), _Source.read(environment.typed(SERVER, environ))
    line, around = _one_form(line, around, "listen", "L")
    base = overlay(around.layer, line.layer)
    readings = [urls.read_listener(*url) for url in _urls(line, around, "L")]
    warnings = [warning for reading in readings for warning in reading.warnings]
    layers = [overlay(base, reading.layer) for reading in readings] or [base]
    settings = construct(ServerSettings, base, listeners=tuple(_listener(layer) for layer in layers))
    return Asked(settings, (*warnings, *environment.misspelt(environ)))


def _listener(layer: Layer) -> ListenerSettings:
    require(layer, "listen", "--listen", "say where clients attach, e.g. --listen :8421")
    require(layer, "entrypoints", "--entrypoint", "say where visitors arrive, e.g. --entrypoint :80 (entrypoint=:80 in -L)")
    require(
        layer,
        "rules",
        "--route",
        "say which host belongs to which tunnel, e.g. --route nginx.local=UUID (tunnel=nginx.local:UUID in -L)",
    )
    return construct(
        ListenerSettings,
        layer,
        mux=construct(MuxSettings, layer, "mux"),
        http=construct(HttpSettings, layer, "http"),
    )


def ask_client(typed: Iterable[Typed], environ: Mapping[str, str]) -> Asked[ClientSettings]:
    """The settings of a client.

    :param typed: the command line; it wins over the environment.
    :param environ: the environment.
    :raises SettingsError: something cannot be had.
    """
    line, around = _Source.read(typed), _Source.read(environment.typed(CLIENT, environ))
    line, around = _one_form(line, around, "server", "F")
    line, around = _one_form(line, around, "target", "L")
    base = overlay(around.layer, line.layer)
    warnings: list[str] = []
    servers = _urls(line, around, "F")
    if len(servers) > 1:
        raise SettingsError(servers[1][0], None, "is given twice; chains of several servers do not exist here")
    for url in servers:
        reading = urls.read_server(*url)
        base = overlay(base, reading.layer)
        warnings += reading.warnings
    readings = [urls.read_target(*url) for url in _urls(line, around, "L")]
    warnings += [warning for reading in readings for warning in reading.warnings]
    layers = [overlay(base, reading.layer) for reading in readings] or [base]
    connectors = [connector for layer in layers for connector in _connectors(layer)]
    settings = construct(ClientSettings, base, connectors=tuple(connectors))
    return Asked(settings, (*warnings, *environment.misspelt(environ)))


def _connectors(layer: Layer) -> Iterable[ConnectorSettings]:
    """One connector for each target."""
    require(layer, "server", "--server", "say where the server is, e.g. --server ws://proxy:8421/proxy (or -F)")
    require(layer, "tunnel", "--tunnel", "say which tunnel to join, e.g. --tunnel UUID (tunnel.id=UUID in -F)")
    require(layer, "target", "--target", "say where requests go, e.g. --target :80 (or -L rtcp://:0/:80)")
    targets = layer["target"]
    for target in targets.value:
        one = overlay(layer, {"target": Given(targets.key, None, target)})
        yield construct(
            ConnectorSettings,
            one,
            mux=construct(MuxSettings, layer, "mux"),
            forward=construct(ForwardSettings, layer, "forward"),
        )


def _one_form(line: _Source, around: _Source, field: str, url: str) -> tuple[_Source, _Source]:
    """Plain option or URL of gost, not both; what the command line says silences the environment."""
    if field in line.layer or url in line.urls:
        around = around.without(field).without_urls(url)
    for source in (line, around):
        if field in source.layer and url in source.urls:
            raise SettingsError(source.layer[field].key, None, f"says the same as {source.urls[url][0][0]}; give one of them")
    return line, around


def _urls(line: _Source, around: _Source, name: str) -> list[tuple[str, str]]:
    return line.urls.get(name) or around.urls.get(name, [])
