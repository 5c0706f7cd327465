"""A profile: keys as in the configuration file of a client, and ``host``, the host that is meant where a command takes one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from typing import Final

import attrs

from rtunnel.config import document
from rtunnel.config.layout import CLIENT_LAYOUT
from rtunnel.config.reading import read_with_own
from rtunnel.options.layers import Layer
from rtunnel.profiles.invitation import Invitation
from rtunnel.profiles.store import ProfileStore
from rtunnel.settings import WEBSOCKETS, ServerConnectionSettings, SettingsError

__all__ = ["Profile", "load_profile", "profile_text", "read_profile"]

HOST: Final = "host"
"""The key that is no option of a client."""
_OWN: Final = (HOST, "server", "tunnel", "host-header", "auth", "tls")
"""The keys that an invitation sets."""
_HEAD = "# Written by rtunnel login; docs/profiles.md explains it. It holds a password: keep it to yourself.\n"
_HINT = "# Any key of a client's configuration file can be added, e.g. a proxy on the way to the server."


@attrs.frozen
class Profile:
    """A profile that was read.

    :ivar host: the host that its user works on.
    :ivar layer: its settings, which everything else overrides.
    """

    name: str
    host: str
    layer: Layer = attrs.field(repr=False)

    @property
    def url(self) -> str:
        """The URL at which a visitor opens its host: as the server is reached, if that is through the same Ingress.

        Where the server is reached under another name, with a ``host-header``, DNS may not know the host: then it is a URL of the
        server, to be asked for :attr:`host`.
        """
        default = attrs.fields(ServerConnectionSettings).transport.default
        transport = self.layer["transport"].value if "transport" in self.layer else default
        address = self.layer["server"].value
        scheme, usual = ("http", 80) if transport == "ws" else ("https", 443)
        same = transport in WEBSOCKETS and ("host" in self.layer or address.host == self.host)
        port = f":{address.port}" if same and address.port != usual else ""
        host = address.host if same else self.host
        return f"{scheme}://[{host}]{port}/" if ":" in host else f"{scheme}://{host}{port}/"

    @property
    def ca_file(self) -> str | None:
        """The CA of its server, ``None`` for those of the system."""
        given = self.layer.get("tls.ca_file")
        return given.value if given is not None else None

    def guard(self, merged: Layer) -> None:
        """Check that its password goes to its own server only.

        :param merged: the settings with those of the profile below them.
        :raises SettingsError: something names another server, and no other user and password.
        """
        credentials = self.layer.get("credentials")
        if credentials is None or merged.get("credentials") is not credentials:
            return
        for field in ("server", "transport"):
            own, used = self.layer.get(field), merged.get(field)
            if own is not None and used is not None and used.value != own.value:
                hint = (
                    f"is another server than that of the profile {self.name}, whose password is for that one only; leave it out, "
                    f"or give the user and password for it, too (--auth-file)"
                )
                raise SettingsError(used.key, used.text, hint)


def load_profile(store: ProfileStore, name: str, key: str) -> Profile:
    """Read a profile.

    :param key: under which its name was given, for errors.
    :raises SettingsError: there is no such profile, it cannot be read, or something in it is invalid.
    """
    if name not in store:
        known = store.names()
        there = f"there are {', '.join(known)}" if known else "there is none yet"
        raise SettingsError(key, name, f"no such profile; {there}; rtunnel login makes one of an invitation")
    return read_profile(name, str(store.path(name)), store.read(name))


def read_profile(name: str, path: str, text: str) -> Profile:
    """Read the text of a profile.

    :param path: of its file, for errors and for the names of files in it.
    :raises SettingsError: something in it is missing or invalid.
    """
    reading, own = read_with_own(path, text, CLIENT_LAYOUT, (HOST,))
    if reading.items:
        raise SettingsError(reading.items[0].where, None, "a profile is for one tunnel; write its keys without a list")
    for field, given in (("server", "server" in reading.base), ("tunnel", "tunnel" in reading.base), (HOST, HOST in own)):
        if not given:
            raise SettingsError(f"{path}: {field}", None, "missing; every profile has it")
    return Profile(name, own[HOST], reading.base)


def profile_text(invitation: Invitation, ca_file: str | None, before: str = "") -> str:
    """The text of the profile that an invitation makes.

    :param ca_file: the name of the file with its CA, beside the profile.
    :param before: the text of the profile that it replaces, whose further keys it keeps.
    """
    return "\n".join((_HEAD + _HINT, *_lines(invitation, ca_file), *_added(before))) + "\n"


def _added(text: str) -> Iterator[str]:
    """The lines of the keys that were added to a profile."""
    tree = document.load("the profile", text)
    lines = text.splitlines()
    starts = [(key.line - 1, key.text) for key, _ in tree.entries] if isinstance(tree, document.Keys) else []
    for (start, key), (end, _) in pairwise([*starts, (len(lines), "")]):
        if key not in _OWN:
            yield from lines[start:end]


def _lines(invitation: Invitation, ca_file: str | None) -> Iterator[str]:
    pairs = {
        HOST: invitation.host,
        "server": invitation.server,
        "tunnel": str(invitation.tunnel),
        "host-header": invitation.host_header,
        "auth": f"{invitation.user}:{invitation.password}" if invitation.user else "",
    }
    tls = {"server-name": invitation.tls_server_name, "ca-file": ca_file or ""}
    # JSON's texts are YAML as well
    for key, value in pairs.items():
        if value:
            yield f"{key}: {json.dumps(value, ensure_ascii=False)}"
    if any(tls.values()):
        yield "tls:"
    for key, value in tls.items():
        if value:
            yield f"  {key}: {json.dumps(value, ensure_ascii=False)}"
