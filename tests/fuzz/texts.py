"""Fuzz targets for what users write: URLs, configuration files, rules, users and permissions."""

from __future__ import annotations

import base64
import os
import re
import tempfile
import zlib
from collections.abc import Callable
from typing import Any

from rtunnel import urls
from rtunnel.auth.users import Users
from rtunnel.config import document
from rtunnel.config.expansion import expanded
from rtunnel.config.gost import is_gost, read_gost
from rtunnel.config.layout import DEV_LAYOUT, LAYOUTS, FileLayout
from rtunnel.config.reading import FileReading, read_text
from rtunnel.config.writing import write
from rtunnel.options.layers import Layer
from rtunnel.profiles.invitation import PREFIX, Invitation, InvitationError, checksum
from rtunnel.profiles.profile import profile_text, read_profile
from rtunnel.routing.lines import LineError
from rtunnel.routing.permissions import Action, Permissions
from rtunnel.routing.rules_file import RulesError, read_rules
from rtunnel.settings import Credentials, SettingsError
from tests.fuzz.target import Target
from tests.support.ids import TUNNEL

__all__ = ["TARGETS"]


def text_of(data: bytes) -> str:
    return data.decode("utf-8", "replace")


# -- URLs

_PASSWORD = re.compile(r"\s*[^:/?#]*://[^/?#@]*:([^/?#@:%+]{6,})@")


def url(data: bytes) -> None:
    """Layers of settings or a SettingsError of printable lines that never shows a password."""
    text = text_of(data)
    for read in (urls.read_listener, urls.read_server, urls.read_target, urls.read_visitor, read_proxy):
        try:
            reading = read("-L", text)
        except SettingsError as error:
            check_message(str(error))
            password = _PASSWORD.match(text)
            if password is not None and text.count(password[1]) == 1:
                # a common word may be in the message for another reason
                assert password[1] not in str(error) or password[1] in repr(urls.__dict__), "a password in an error"
        else:
            for warning in reading.warnings:
                assert len(warning) < len(text) * 10 + 500


def read_proxy(origin: str, text: str) -> urls.Reading:
    return urls.read_proxies([(origin, text)])


def check_message(message: str) -> None:
    assert message
    assert all(line.isprintable() for line in message.split("\n")), message


# -- configuration files


def config(data: bytes) -> None:
    """Settings or a SettingsError with the line; what is written of them is read as the same."""
    text = text_of(data)
    project(text)
    for layout in LAYOUTS:
        try:
            reading = read_text("file.yaml", text, layout)
        except SettingsError as error:
            check_message(str(error))
            continue
        again = read_text("file.yaml", write(layout, reading.base, layers(layout, reading)), layout)
        assert list(map(values, layers(layout, again))) == list(map(values, layers(layout, reading)))


def project(text: str) -> None:
    """The file of a project: variables are replaced where they are meant to be, and nowhere else."""
    try:
        top = document.load("rtunnel.dev.yaml", text)
        if isinstance(top, document.Keys):
            again = expanded("rtunnel.dev.yaml", top, DEV_LAYOUT.expanded, {"USER": "alice", "A": "${A}"})
            assert [key for key, _ in again.entries] == [key for key, _ in top.entries]
            for (key, node), (_, before) in zip(again.entries, top.entries, strict=True):
                assert key.text in DEV_LAYOUT.expanded or node == before
        read_text("rtunnel.dev.yaml", text, DEV_LAYOUT)
    except SettingsError as error:
        check_message(str(error))


def layers(layout: FileLayout, reading: FileReading) -> list[Layer]:
    """The settings of each item, with those beside the list."""
    of_process = {leaf.option.field for _, leaf in layout.process.leaves()}
    beside = {field: value for field, value in reading.base.items() if field not in of_process}
    return [{**beside, **item.layer} for item in reading.items] or ([beside] if beside else [])


def values(layer: Layer) -> dict[str, Any]:
    return {field: value.value for field, value in layer.items()}


def gost_config(data: bytes) -> None:
    """Layers of settings or a SettingsError."""
    with tempfile.NamedTemporaryFile(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as file:
        file.write(data)
        file.flush()
        try:
            if is_gost(file.name):
                read_gost(file.name)
        except SettingsError as error:
            check_message(str(error))


# -- files of lines


def rules(data: bytes) -> None:
    """Rules, or all faults with their lines; what is written of the rules is read as the same."""
    text = text_of(data)
    try:
        found = read_rules(text)
    except RulesError as error:
        lines = text.split("\n")
        for fault in error.faults:
            assert fault.text in lines[fault.line - 1]
            assert fault.hint
    else:
        assert read_rules("\n".join(map(str, found))) == found


def users(data: bytes) -> None:
    """Users, or a LineError that does not show a hash."""
    text = text_of(data)
    for_lines(Users.parse, text)


def permissions(data: bytes) -> None:
    """Permissions, or a LineError; what they allow can be asked for anything."""
    text = text_of(data)
    found = for_lines(Permissions.parse, text)
    if found is not None:
        words = text.split()
        for word in words[:6]:
            found.may(word, Action.BIND, TUNNEL, [word.lower()])
            found.may(word, Action.VISIT, TUNNEL, words[:3])


def invitation(data: bytes) -> None:
    """An invitation, or a printable line that says why not; read again it is the same, and its profile says what it says."""
    packed = zlib.compress(data)
    for line in (text_of(data), PREFIX + base64.urlsafe_b64encode(packed + checksum(packed)).decode()):
        try:
            found = Invitation.read(line)
        except InvitationError as error:
            check_message(str(error))
            continue
        try:
            assert Invitation.read(found.line) == found
            profile = read_profile(found.name, "shop.yaml", profile_text(found, "ca.pem" if found.ca else None))
        except InvitationError as error:
            assert "characters" in str(error)
        except SettingsError as error:
            check_message(str(error))
            assert len(found.password) < 6 or found.password not in str(error)
        else:
            assert (profile.host, profile.layer["tunnel"].value) == (found.host, found.tunnel)
            credentials = profile.layer.get("credentials")
            assert (credentials.value if credentials else None) == (Credentials(found.user, found.password) if found.user else None)


def for_lines(parse: Callable[[str], Any], text: str) -> Any:
    try:
        return parse(text)
    except LineError as error:
        assert 1 <= error.line <= text.count("\n") + 1
        assert "$argon2id$v" not in error.hint
        return None


_KEYS = [name.encode() + b": " for layout in LAYOUTS for name in (*layout.top.keys, layout.list_key)]
_GOST = (
    *("services", "name", "addr", "handler", "type", "tunnel", "rtcp", "listener", "ws", "metadata", "ingress", "forwarder"),
    *("nodes", "chains", "hops", "connector", "dialer", "tls", "filter", "host", "http", "header", "entrypoints", "chain"),
)

TARGETS = (
    Target(
        "url",
        url,
        ("rtunnel.urls",),
        [
            b"tunnel+wss://",
            b"tunnel://",
            b"rtcp://",
            b"runix://",
            b"rudp://",
            b"tcp://",
            b"udp://",
            b"socks5://",
            b"user:secret1@",
            b"?path=/",
            b"&",
        ],
    ),
    Target(
        "config",
        config,
        ("rtunnel.config.document", "rtunnel.config.reading", "rtunnel.config.writing"),
        [*_KEYS, b"\n  - ", b"\n", b"|\n  ", b'"\\U', b"%YAML 1.1\n---\n", b"&a ", b"*a", b"!!int ", b"- - - ", b"? ", b": "],
    ),
    Target("gost-config", gost_config, ("rtunnel.config.gost",), [f"{word}: ".encode() for word in _GOST] + [b"\n  - ", b"\n"]),
    Target(
        "rules",
        rules,
        ("rtunnel.routing.rules_file", "rtunnel.routing.ingress"),
        [b"*.", b"=$", str(TUNNEL).encode(), b"[::1]", b"\n"],
    ),
    Target("users", users, ("rtunnel.auth.users", "rtunnel.auth.passwords"), [b"$argon2id$v=19$m=19456,t=2,p=1$", b"\n", b":"]),
    Target(
        "invitation",
        invitation,
        ("rtunnel.profiles.invitation", "rtunnel.profiles.profile"),
        [
            PREFIX.encode(),
            b'","password":"',
            b'","user":"',
            b'","host":"',
            b'","ca":["',
            b'","tls-server-name":"',
            b"\\u0000",
            b"wss://",
        ],
    ),
    Target(
        "permissions",
        permissions,
        ("rtunnel.routing.permissions",),
        [b"bind", b"visit", b",", b"*", b"*.", str(TUNNEL).encode(), b"[::1]"],
    ),
)
