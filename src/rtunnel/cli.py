"""What a file says, what stands in the environment, what was typed and what the URLs say, laid together: the settings of a process.

A configuration file lies below the environment, that below the command line, and that below a URL of gost, which speaks for its
own listener or connector. Either the plain option names a place or a URL does, ``--listen`` or ``-L``; what the command line says
decides which.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Generic, TypeVar

import attrs

from rtunnel import urls
from rtunnel.config.layout import CLIENT_SHAPE, CONFIG, SERVER_SHAPE, VISITOR_SHAPE, FileLayout
from rtunnel.config.reading import FileReading, read_file
from rtunnel.options import environment
from rtunnel.options.layers import Layer, OptionValue, construct, overlay, put, require
from rtunnel.options.proxies import from_environment
from rtunnel.options.table import CLIENT, SERVER, VISITOR, Option
from rtunnel.settings import (
    AccessLogSettings,
    ClientSettings,
    ClientTls,
    ConnectorSettings,
    ForwardSettings,
    HttpSettings,
    ListenerSettings,
    MuxSettings,
    ProxySettings,
    ServerConnectionSettings,
    ServerSettings,
    ServerTls,
    SettingsError,
    SettingsErrors,
    UdpSettings,
    VisitorSettings,
)

__all__ = [
    "Merged",
    "RawOption",
    "Resolved",
    "load_client",
    "load_server",
    "load_visitor",
    "merge_client",
    "merge_server",
    "merge_visitor",
    "validate_client",
    "validate_server",
    "validate_visitor",
]

RawOption = tuple[Option, str, str]
"""An option, the name under which it was given (``--path``, ``RTUNNEL_PATH``) and its text."""

_Settings = TypeVar("_Settings")
_Model = TypeVar("_Model")


@attrs.frozen
class Resolved(Generic[_Settings]):
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
    def read(cls, typed: Iterable[RawOption]) -> _Source:
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


def load_server(typed: Iterable[RawOption], environ: Mapping[str, str]) -> Resolved[ServerSettings]:
    """The settings of a server.

    :param typed: the command line; it wins over the environment, and that over a configuration file.
    :param environ: the environment.
    :raises SettingsError: something cannot be had.
    """
    return validate_server(merge_server(typed, environ))


def validate_server(merged: Merged) -> Resolved[ServerSettings]:
    """The settings of a server out of what was said.

    :raises SettingsError: something cannot be had.
    """
    attaching = any("listen" in layer for layer in merged.items)
    listeners = merged.each(lambda layer: (_listener(layer, apart=attaching and "listen" not in layer),))
    access_log = construct(AccessLogSettings, merged.base, "access_log")
    settings = merged.construct(ServerSettings, listeners=listeners, access_log=access_log)
    return Resolved(settings, merged.warnings)


def merge_server(typed: Iterable[RawOption], environ: Mapping[str, str]) -> Merged:
    """What was said of a server, laid together."""
    line, around = _Source.read(typed), _Source.read(environment.typed(SERVER, environ))
    file = _file(line, around, SERVER_SHAPE)
    line, around = _one_form(line, around, "listen", "L")
    readings = [urls.read_listener(*url) for url in _urls(line, around, "L", file, "listen")]
    return _composed(file, around, line, readings, environ, SERVER_SHAPE)


def _listener(layer: Layer, *, apart: bool) -> ListenerSettings:
    """One listener; of several, one may be entrypoints apart, at which nobody attaches."""
    if not apart:
        require(layer, "listen", "--listen", "say where clients attach, e.g. --listen :8421")
    direct = "direct" in layer and layer["direct"].value
    rules = layer["rules"].value if "rules" in layer else ()
    private = rules and all(rule.private for rule in rules) and "routes_file" not in layer
    if apart or ("entrypoint_id" not in layer and not private and not direct):
        require(layer, "entrypoints", "--entrypoint", "say where visitors arrive, e.g. --entrypoint :80 (entrypoint=:80 in -L)")
    if not direct and "routes_file" not in layer:
        require(
            layer,
            "rules",
            "--route",
            "say which host belongs to which tunnel, e.g. --route nginx.local=UUID (tunnel=nginx.local:UUID in -L)",
        )
    return construct(
        ListenerSettings,
        layer,
        tls=construct(ServerTls, layer, "tls"),
        mux=construct(MuxSettings, layer, "mux"),
        http=construct(HttpSettings, layer, "http"),
    )


def load_client(typed: Iterable[RawOption], environ: Mapping[str, str]) -> Resolved[ClientSettings]:
    """The settings of a client.

    :param typed: the command line; it wins over the environment, and that over a configuration file.
    :param environ: the environment.
    :raises SettingsError: something cannot be had.
    """
    return validate_client(merge_client(typed, environ), environ)


def validate_client(merged: Merged, environ: Mapping[str, str]) -> Resolved[ClientSettings]:
    """The settings of a client out of what was said.

    :param environ: where proxies may be named.
    :raises SettingsError: something cannot be had.
    """

    def build(layer: Layer) -> Iterable[ServerConnectionSettings]:
        return _visitors(environ, layer) if "listen" in layer else _connectors(environ, layer)

    return _client(merged, build)


def merge_client(typed: Iterable[RawOption], environ: Mapping[str, str]) -> Merged:
    """What was said of a client, laid together."""
    line, around = _Source.read(typed), _Source.read(environment.typed(CLIENT, environ))
    file = _file(line, around, CLIENT_SHAPE)
    line, around = _one_form(line, around, "target", "L")
    return _attached(line, around, environ, file, CLIENT_SHAPE)


def load_visitor(typed: Iterable[RawOption], environ: Mapping[str, str]) -> Resolved[ClientSettings]:
    """The settings of a visitor.

    :param typed: the command line; it wins over the environment, and that over a configuration file.
    :param environ: the environment.
    :raises SettingsError: something cannot be had.
    """
    return validate_visitor(merge_visitor(typed, environ), environ)


def validate_visitor(merged: Merged, environ: Mapping[str, str]) -> Resolved[ClientSettings]:
    """The settings of a visitor out of what was said.

    :param environ: where proxies may be named.
    :raises SettingsError: something cannot be had.
    """
    return _client(merged, partial(_visitors, environ))


def merge_visitor(typed: Iterable[RawOption], environ: Mapping[str, str]) -> Merged:
    """What was said of a visitor, laid together."""
    line, around = _Source.read(typed), _Source.read(environment.typed(VISITOR, environ))
    file = _file(line, around, VISITOR_SHAPE)
    line, around = _one_form(line, around, "listen", "L")
    line, around = _one_form(line, around, "to", "L")
    return _attached(line, around, environ, file, VISITOR_SHAPE)


def _attached(line: _Source, around: _Source, environ: Mapping[str, str], file: FileReading | None, layout: FileLayout) -> Merged:
    """What was said of a process that has a server: what it joins, or visits, there."""
    line, around = _one_form(line, around, "server", "F")
    servers = _urls(line, around, "F", file, "server")
    server = _server_behind_proxies(servers, line)
    visits = layout is VISITOR_SHAPE
    local = [_read_local(visits, *url) for url in _urls(line, around, "L", file, "listen" if visits else "target")]
    merged = _composed(file, around, line, local, environ, layout, server)
    return attrs.evolve(merged, warnings=(*merged.warnings, *_passwords_of_proxies(line)))


def _server_behind_proxies(servers: Sequence[tuple[str, str]], line: _Source) -> list[urls.Reading]:
    """The URLs of ``-F``: the last is the server, those before it are the proxies on the way."""
    readings = [urls.read_server(*url) for url in servers[-1:]]
    if len(servers) > 1:
        if "proxies" in line.layer:
            raise SettingsError(line.layer["proxies"].key, None, f"says the same as {servers[0][0]}; give one of them")
        readings.append(urls.read_proxies(servers[:-1]))
    return readings


def _passwords_of_proxies(line: _Source) -> Iterator[str]:
    proxies = line.layer.get("proxies")
    if proxies is not None and proxies.key == "--proxy" and any(proxy and proxy.credentials for proxy in proxies.value):
        yield "--proxy holds a password that everybody can read in the process list; use --proxy-file or RTUNNEL_PROXY"


def _client(merged: Merged, build: Callable[[Layer], Iterable[ServerConnectionSettings]]) -> Resolved[ClientSettings]:
    """The settings of a process that has a server."""
    labelled = merged.each(build)
    settings = merged.construct(
        ClientSettings,
        connectors=tuple(one for one in labelled if isinstance(one, ConnectorSettings)),
        visitors=tuple(one for one in labelled if isinstance(one, VisitorSettings)),
    )
    return Resolved(settings, merged.warnings)


def _read_local(visits_only: bool, origin: str, text: str) -> urls.Reading:
    """``-L``: a target, or the local port of a visitor."""
    visits = visits_only or urls.split(origin, text).scheme in urls.VISITOR_SCHEMES
    return urls.read_visitor(origin, text) if visits else urls.read_target(origin, text)


def _visitors(environ: Mapping[str, str], layer: Layer) -> Iterable[VisitorSettings]:
    """One visitor for each local port."""
    require(layer, "server", "--server", "say where the server is, e.g. --server ws://proxy:8421/proxy (or -F)")
    require(layer, "tunnel", "--tunnel", "say which tunnel to visit, e.g. --tunnel UUID (tunnel.id=UUID in -F)")
    require(layer, "listen", "--listen", "say which local port to open, e.g. --listen 127.0.0.1:2222 (or -L tcp://:2222/ssh.svc)")
    require(layer, "to", "--to", "say what to visit, a host of the server's rules, e.g. --to ssh.svc (or -L tcp://:2222/ssh.svc)")
    around = () if "proxies" in layer else _usual_proxies(environ, layer)
    listens, destinations = layer["listen"], layer["to"]
    if len(listens.value) != len(destinations.value):
        hint = f"is given {len(destinations.value)} times, and {listens.key} {len(listens.value)} times; give each port its own"
        raise SettingsError(destinations.key, None, hint)
    for listen, to in zip(listens.value, destinations.value, strict=True):
        one = overlay(layer, {"listen": OptionValue(listens.key, None, listen), "to": OptionValue(destinations.key, None, to)})
        yield construct(
            VisitorSettings,
            one,
            mux=construct(MuxSettings, layer, "mux"),
            udp=construct(UdpSettings, layer, "udp"),
            tls=construct(ClientTls, layer, "tls"),
            proxies=around,
        )


def _connectors(environ: Mapping[str, str], layer: Layer) -> Iterable[ConnectorSettings]:
    """One connector for each target."""
    require(layer, "server", "--server", "say where the server is, e.g. --server ws://proxy:8421/proxy (or -F)")
    require(layer, "tunnel", "--tunnel", "say which tunnel to join, e.g. --tunnel UUID (tunnel.id=UUID in -F)")
    require(layer, "target", "--target", "say where requests go, e.g. --target :80 (or -L rtcp://:0/:80)")
    around = () if "proxies" in layer else _usual_proxies(environ, layer)
    targets = layer["target"]
    for target in targets.value:
        one = overlay(layer, {"target": OptionValue(targets.key, None, target)})
        yield construct(
            ConnectorSettings,
            one,
            mux=construct(MuxSettings, layer, "mux"),
            forward=construct(ForwardSettings, layer, "forward"),
            udp=construct(UdpSettings, layer, "udp"),
            tls=construct(ClientTls, layer, "tls"),
            proxies=around,
        )


def _usual_proxies(environ: Mapping[str, str], layer: Layer) -> tuple[ProxySettings, ...]:
    """The proxies that HTTPS_PROXY and the like name for the server."""
    transport = layer["transport"].value if "transport" in layer else attrs.fields(ConnectorSettings).transport.default
    return from_environment(environ, str(transport), layer["server"].value)


# -- laying together


@attrs.frozen
class Merged:
    """What was said of a command, laid together and not yet checked.

    :ivar layout: of the command.
    :ivar file: the configuration file, if there is one.
    :ivar base: for the whole process.
    :ivar items: for each listener or connector.
    :ivar warnings: what was said in vain, one line each.
    :ivar places: where each of the items stands in a file, for errors about what is not there.
    """

    layout: FileLayout
    file: FileReading | None
    base: Layer
    items: tuple[Layer, ...]
    warnings: tuple[str, ...]
    places: tuple[str, ...] = ()

    def each(self, build: Callable[[Layer], Iterable[_Model]]) -> tuple[_Model, ...]:
        """Build the settings of all items.

        :raises SettingsError: what is wrong with them, all at once when a file lists them.
        """
        models: list[_Model] = []
        errors: list[SettingsError] = []
        for number, layer in enumerate(self.items):
            try:
                models += build(layer)
            except SettingsError as error:
                errors.append(self._in_file(error, self.places[number] if self.places else None))
        if errors:
            raise errors[0] if len(errors) == 1 else SettingsErrors(errors)
        return tuple(models)

    def construct(self, model: type[_Settings], **items: Any) -> _Settings:
        """Build the settings of the process around its items."""
        try:
            return construct(model, self.base, **items)
        except SettingsError as error:
            # of two listeners that cannot stand beside each other, the later one is to blame
            for layer in reversed(self.items if self.file is not None else ()):
                for given in layer.values():
                    values = given.value if isinstance(given.value, tuple) else (given.value,)
                    if error.value in [str(value) for value in values]:
                        raise error.about(given.key, error.value) from None
            raise self._in_file(error, None) from None

    def _in_file(self, error: SettingsError, place: str | None) -> SettingsError:
        """Say where in the file it is that something is missing, in the words of a file."""
        place = place or (f"{self.file.path}: " if self.file is not None else None)
        if place is None or not error.key.startswith("-"):
            return error
        paths = {leaf.option.flag: path for path, leaf in self.layout.top.leaves() if not leaf.plural}
        hint = _GOST_TOO.sub("", _FLAG.sub(r"\1: ", error.hint))
        return SettingsError(place + paths.get(error.key, error.key), error.value, hint)


_FLAG = re.compile(r"--([a-z][a-z-]*) ")
_GOST_TOO = re.compile(r" \([^()]*-[LF]\b[^()]*\)")


def _composed(
    file: FileReading | None,
    around: _Source,
    line: _Source,
    readings: Sequence[urls.Reading],
    environ: Mapping[str, str],
    layout: FileLayout,
    server: Sequence[urls.Reading] = (),
) -> Merged:
    """Lay one over the other: the file's top, an item of it, the environment, the command line, URLs.

    :param readings: URLs, each for an item of its own.
    :param server: URLs for all items.
    """
    top = file.base if file is not None else {}
    over = (around.layer, line.layer, *(reading.layer for reading in server))
    base = overlay(top, *over)
    items: list[Layer] = []
    if file is not None:
        items = [overlay(top, item.layer, *over) for item in file.items]
    items = items or [overlay(base, reading.layer) for reading in readings] or [base]
    warnings = [warning for reading in (*server, *readings) for warning in reading.warnings]
    if file is not None:
        warnings += file.warnings
    places = tuple(f"{item.where}." for item in file.items) if file is not None else ()
    return Merged(layout, file, base, tuple(items), (*warnings, *environment.misspelt(environ)), places)


def _file(line: _Source, around: _Source, layout: FileLayout) -> FileReading | None:
    given = line.layer.get(CONFIG) or around.layer.get(CONFIG)
    return read_file(given.value, layout) if given is not None else None


def _one_form(line: _Source, around: _Source, field: str, url: str) -> tuple[_Source, _Source]:
    """Plain option or URL of gost, not both; what the command line says silences the environment."""
    if field in line.layer or url in line.urls:
        around = around.without(field).without_urls(url)
    for source in (line, around):
        if field in source.layer and url in source.urls:
            raise SettingsError(source.layer[field].key, None, f"says the same as {source.urls[url][0][0]}; give one of them")
    return line, around


def _urls(line: _Source, around: _Source, name: str, file: FileReading | None, field: str) -> list[tuple[str, str]]:
    """The URLs of one kind, if the file does not say the same."""
    found = line.urls.get(name) or around.urls.get(name, [])
    if found and file is not None:
        said = file.items[0].where if file.items else file.base[field].key if field in file.base else None
        if said is not None:
            raise SettingsError(found[0][0], None, f"says the same as {said}; give one of them")
    return found
