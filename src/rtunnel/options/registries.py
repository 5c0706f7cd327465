"""The shared registry as users write it."""

from __future__ import annotations

import re
from importlib.util import find_spec
from urllib.parse import unquote

from rtunnel.options import kinds
from rtunnel.options.kinds import Kind
from rtunnel.options.secret_files import only_line
from rtunnel.settings import RegistryAddress, SettingsError

__all__ = ["PASSWORD", "PASSWORD_FILE", "REGISTRY"]

PORT = 6379
SENTINEL_PORT = 26379

_URL = re.compile(r"([a-z+]+)://(?:([^/?#@]*)@)?([^?#@]*)(?:\?([^#]*))?", re.IGNORECASE)
_FORMS = "write redis://HOST[:PORT][/DB], rediss:// for TLS, unix:///PATH, or redis+sentinel://HOST[:PORT],.../NAME"
_DATABASE = re.compile(r"\d{1,6}", re.ASCII)


def _registry(text: str) -> RegistryAddress:
    match = _URL.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"not a Redis; {_FORMS}")
    scheme, user, place, query = match[1].lower(), match[2] or "", match[3], match[4]
    if ":" in user:
        raise ValueError("must not contain a password; give it with --registry-password-file or RTUNNEL_REGISTRY_PASSWORD")
    if find_spec("redis") is None:
        raise ValueError('needs redis-py, which is not installed: pip install "rtunnel[redis]"')
    try:
        if scheme == "unix":
            return _unix(unquote(user), place, query)
        if query is not None:
            raise ValueError(f"has options after a question mark; {_FORMS}")
        return _over_tcp(scheme, unquote(user), place)
    except SettingsError as error:
        raise ValueError(f"the {error.key} {error.hint}") from None


def _unix(user: str, path: str, query: str | None) -> RegistryAddress:
    if not path.startswith("/"):
        raise ValueError("needs an absolute path; write unix:///run/redis/redis.sock")
    name, _, number = (query or "").partition("=")
    if query is not None and name != "db":
        raise ValueError("has an unknown option after the question mark; only db=NUMBER is known")
    return RegistryAddress(scheme="unix", path=path, database=_number(number) if query else 0, user=user)


def _over_tcp(scheme: str, user: str, place: str) -> RegistryAddress:
    sentinel = scheme.endswith("+sentinel")
    hosts, *rest = place.split("/")
    service = rest.pop(0) if sentinel and rest else ""
    if sentinel and not service:
        raise ValueError("does not name the master that the Sentinels watch; write redis+sentinel://HOST,HOST/NAME")
    if len(rest) > 1 or not hosts:
        raise ValueError(f"not a Redis; {_FORMS}")
    listed = hosts.split(",")
    if len(listed) > 1 and not sentinel:
        raise ValueError("names several hosts; only redis+sentinel:// may")
    port = SENTINEL_PORT if sentinel else PORT
    return RegistryAddress(
        scheme=scheme,
        hosts=tuple(kinds.SERVER_ADDRESS.parse(_with_port(host, port)) for host in listed),
        service=service,
        database=_number(rest[0]) if rest and rest[0] else 0,
        user=user,
    )


def _with_port(host: str, port: int) -> str:
    return host if ":" in host.rpartition("]")[2] else f"{host}:{port}"


def _number(text: str) -> int:
    if not _DATABASE.fullmatch(text):
        raise ValueError("the database must be a number, as in redis://HOST/3")
    return int(text)


def _password(text: str) -> str:
    if not text.isprintable() or not 0 < len(text) <= 1024:
        raise ValueError("must be 1 to 1024 characters of printable text")
    return text


def _password_file(path: str) -> str:
    line = only_line(path, "the password")
    try:
        return _password(line)
    except ValueError as error:
        raise ValueError(f"the password in it {error}") from None


REGISTRY = Kind("URL", _registry, lists=True)
PASSWORD = Kind("PASSWORD", _password, secret=True)
PASSWORD_FILE = Kind("FILE", _password_file)
