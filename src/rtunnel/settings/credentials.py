"""A user and a password."""

from __future__ import annotations

import attrs

from rtunnel.settings.checks import SettingsError

__all__ = ["Credentials"]


@attrs.frozen
class Credentials:
    """Who a client is. The password never appears in a ``repr``, error or log line."""

    user: str = attrs.field()
    password: str = attrs.field(repr=False)

    @user.validator
    @password.validator
    def _fits(self, attribute: attrs.Attribute[str], value: str) -> None:
        # each has a length byte before it on the wire
        if not value.isprintable() or not 0 < len(value.encode()) <= 255:
            raise SettingsError(attribute.name, None, "must be 1 to 255 bytes of printable text")
