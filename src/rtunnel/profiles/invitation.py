"""An invitation: everything that a developer's machine needs to know of a server, in one line of text.

``rtunnel1_`` and base64url, without padding, of a document in JSON, deflated (zlib), and the first bytes of its SHA-256: so a line
that was cut or changed on its way is told apart from one that was withdrawn. The number is that of the format. Keys that are not
known are ignored. The line holds a password, and nothing in it is encrypted.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
import ssl
import zlib
from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

import attrs

from rtunnel.ids import is_id
from rtunnel.options.kinds import SERVER
from rtunnel.profiles.store import is_name
from rtunnel.settings import Credentials, SettingsError

__all__ = ["MAX_LINE", "PREFIX", "Invitation", "InvitationError", "certificates_of", "checksum", "read_certificates"]

PREFIX: Final = "rtunnel1_"
MAX_LINE: Final = 4000
"""Characters of a line; a terminal takes no more than 4095 at once (``MAX_CANON`` of Linux)."""
_MAX_DOCUMENT: Final = 16384
"""Bytes of the document."""
_MAX_TEXT: Final = 255
_CHECKSUM: Final = 6
"""Bytes of the checksum."""
_ANY_VERSION = re.compile(r"rtunnel[0-9]{1,3}_")
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


class InvitationError(ValueError):
    """A line is no invitation, or something cannot be in one; the text says why and what to do, and repeats nothing of a line."""


@attrs.frozen
class Invitation:
    """What an invitation says.

    :ivar name: the name that its profile gets, unless its user wants another one.
    :ivar host: the host that the user works on.
    :ivar server: the server, as for ``--server``.
    :ivar tunnel: the tunnel of the host.
    :ivar user: the name of the user; ``""`` for a server without users.
    :ivar password: their password.
    :ivar host_header: as for ``--host-header``.
    :ivar tls_server_name: as for ``--tls-server-name``.
    :ivar ca: the certificates of the server's CA, in DER; empty for the CAs of the system.
    """

    name: str
    host: str
    server: str
    tunnel: UUID
    user: str = ""
    password: str = attrs.field(default="", repr=False)
    host_header: str = ""
    tls_server_name: str = ""
    ca: tuple[bytes, ...] = attrs.field(default=(), repr=False)

    def __attrs_post_init__(self) -> None:
        if not is_name(self.name):
            raise InvitationError("the name of a profile has letters, digits, - and _ only, and up to 64 of them")
        for what in ("host", "server", "user", "host_header", "tls_server_name"):
            text: str = getattr(self, what)
            if len(text) > _MAX_TEXT or not text.isprintable() or " " in text:
                raise InvitationError(f"the {what.replace('_', ' ')} is not a name of up to {_MAX_TEXT} printable characters")
        if not self.host:
            raise InvitationError("there is no host in it")
        if ":" in self.user:
            raise InvitationError("its user has a colon in the name, which separates it from the password")
        try:
            if SERVER.parse(self.server).files:
                # else a line could have files of its reader used
                raise InvitationError("its server is no URL; write it as wss://HOST/PATH")
            if self.user:
                Credentials(self.user, self.password)
        except SettingsError as error:
            raise InvitationError(f"the {error.key} {error.hint}") from None
        except ValueError as error:
            raise InvitationError(f"its server: {error}") from None

    @property
    def line(self) -> str:
        """It as a line.

        :raises InvitationError: it would be too long.
        """
        document = {
            "name": self.name,
            "host": self.host,
            "server": self.server,
            "tunnel": str(self.tunnel),
            "user": self.user,
            "password": self.password,
            "host-header": self.host_header,
            "tls-server-name": self.tls_server_name,
            "ca": [base64.b64encode(certificate).decode() for certificate in self.ca],
        }
        text = json.dumps({key: value for key, value in document.items() if value}, separators=(",", ":"), ensure_ascii=False)
        packed = zlib.compress(text.encode(), 9)
        line = PREFIX + base64.urlsafe_b64encode(packed + checksum(packed)).decode().rstrip("=")
        if len(text.encode()) > _MAX_DOCUMENT or len(line) > MAX_LINE:
            hint = "leave --ca-file out, and give the CA apart: rtunnel login --ca-file FILE"
            raise InvitationError(f"it would have {len(line)} characters, and terminals take {MAX_LINE}; {hint}")
        return line

    @property
    def ca_text(self) -> str | None:
        """The CA in PEM, ``None`` without one."""
        return "".join(map(ssl.DER_cert_to_PEM_cert, self.ca)) or None

    @classmethod
    def read(cls, line: str) -> Invitation:
        """Read a line; blanks and line breaks in it mean nothing, which mail programs add.

        :raises InvitationError: it is none, or not whole.
        """
        line = "".join(line.split())
        if not line.startswith(PREFIX):
            if _ANY_VERSION.match(line):
                raise InvitationError("this is an invitation of a newer rtunnel; update this one")
            raise InvitationError(f"this is no invitation, which begins with {PREFIX}; rtunnel invite prints one, at the server")
        if len(line) > MAX_LINE:
            raise InvitationError("this is longer than any invitation; copy that line alone")
        return cls._of(_document(line.removeprefix(PREFIX)))

    @classmethod
    def _of(cls, document: Mapping[str, Any]) -> Invitation:
        texts = {key: document.get(key, "") for key in ("name", "host", "server", "tunnel", "user", "password")}
        texts |= {key.replace("-", "_"): document.get(key, "") for key in ("host-header", "tls-server-name")}
        ca = document.get("ca", [])
        if not all(isinstance(text, str) for text in texts.values()) or not isinstance(ca, list) or not is_id(texts["tunnel"]):
            raise InvitationError(_DAMAGED)
        try:
            certificates = tuple(base64.b64decode(one, validate=True) for one in ca)
        except (TypeError, ValueError):
            raise InvitationError(_DAMAGED) from None
        return cls(**(texts | {"tunnel": UUID(texts["tunnel"])}), ca=certificates)


_DAMAGED = "this invitation is not whole; copy all of its line again"


def _document(text: str) -> Mapping[str, Any]:
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        packed = data[:-_CHECKSUM]
        if data[-_CHECKSUM:] != checksum(packed):
            raise InvitationError(_DAMAGED)
        unpacking = zlib.decompressobj()
        document = json.loads(unpacking.decompress(packed, _MAX_DOCUMENT))
    except (binascii.Error, zlib.error, ValueError, RecursionError):
        raise InvitationError(_DAMAGED) from None
    if not unpacking.eof or not isinstance(document, dict):
        raise InvitationError(_DAMAGED)
    return document


def checksum(packed: bytes) -> bytes:
    """What follows the packed document, against lines that were cut or changed on their way; it is no signature."""
    return hashlib.sha256(PREFIX.encode() + packed).digest()[:_CHECKSUM]


def read_certificates(path: str) -> tuple[bytes, ...]:
    """The certificates of a ``--ca-file``, in DER.

    :raises SettingsError: it cannot be read, or has none.
    """
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return certificates_of(file.read())
    except OSError as error:
        raise SettingsError("--ca-file", path, f"cannot be read: {error.strerror or error}") from None
    except InvitationError as error:
        raise SettingsError("--ca-file", path, str(error)) from None


def certificates_of(pem: str) -> tuple[bytes, ...]:
    """The certificates in a text in PEM, in DER.

    :raises InvitationError: there is none in it.
    """
    try:
        found = tuple(map(ssl.PEM_cert_to_DER_cert, _CERTIFICATE.findall(pem)))
    except ValueError:
        found = ()
    if not found:
        raise InvitationError("there is no certificate in PEM in it")
    return found
