"""The error of an invalid setting, and the validators that raise it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs

from rtunnel.ids import mask_ids
from rtunnel.masking import mask

__all__ = ["DAY", "LOG_LEVEL", "PATH", "SettingsError", "SettingsErrors", "Validator", "check", "header_value", "seconds", "whole"]

_MAX_VALUE = 120  # characters of a value that an error repeats
_MAX_KEY = 500  # characters of a name, which may begin with the path of a file

Validator = Callable[[Any, "attrs.Attribute[Any]", Any], None]


class SettingsError(Exception):
    """A setting is missing or invalid. As a text it shows only the first characters of a tunnel's ID, and no password.

    :param key: the name of the setting as the user knows it.
    :param value: the value as it was given; ``None`` when none was given, or when it is a secret.
    :param hint: what is wrong, and what to write instead.
    """

    def __init__(self, key: str, value: str | None, hint: str) -> None:
        super().__init__(key, value, hint)
        self.key = key
        self.value = value
        self.hint = hint

    def about(self, key: str, value: str | None) -> SettingsError:
        """The same error with the name and the text that the user gave."""
        return SettingsError(key, value, self.hint)

    def __str__(self) -> str:
        subject = plain(mask_ids(self.key), _MAX_KEY)
        if self.value is not None:
            subject += f' "{plain(mask(self.value))}"'
        return f"{subject}: {plain(self.hint, None)}"


class SettingsErrors(SettingsError):
    """Several errors at once; as a text, one line each.

    :param errors: at least one.
    """

    def __init__(self, errors: Sequence[SettingsError]) -> None:
        super().__init__(errors[0].key, errors[0].value, errors[0].hint)
        self.errors = tuple(errors)

    def __str__(self) -> str:
        return "\n".join(map(str, self.errors))


def plain(text: str, limit: int | None = _MAX_VALUE) -> str:
    """Text on one line, with everything that is not printable as escapes."""
    if limit is not None and len(text) > limit:
        text = text[: limit - 3] + "..."
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)


def check(test: Callable[[Any], bool], hint: str) -> Validator:
    """A validator for values that pass a test.

    :param hint: what is wrong with all others, and what to write instead.
    """

    def validate(_instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
        if not test(value):
            raise SettingsError(attribute.name, str(value), hint)

    return validate


def whole(low: int, high: int, what: str = "a whole number") -> Validator:
    """A validator for whole numbers between two bounds."""
    return check(
        lambda value: isinstance(value, int) and not isinstance(value, bool) and low <= value <= high,
        f"must be {what} from {low} to {high}",
    )


def seconds(low: float, high: float, zero: str | None = None) -> Validator:
    """A validator for times between two bounds; *zero* is what 0 means, where it is allowed as well."""
    return check(
        lambda value: isinstance(value, int | float) and (low <= value <= high or (zero is not None and value == 0)),
        f"must be a time between {low:g}s and {high:g}s" + (f", or 0 for {zero}" if zero else ""),
    )


def header_value(text: str) -> bool:
    """Whether a text can be part of a request line or header without changing its meaning (visible ASCII)."""
    return text.isascii() and text.isprintable() and " " not in text


DAY = 86400.0

LOG_LEVEL = check(lambda level: level in ("debug", "info", "warn"), "must be debug, info or warn")


PATH = check(
    lambda path: path.startswith("/") and header_value(path) and not set(path) & set("?#"),
    'must be a path that begins with "/", without spaces, "?" or "#", e.g. /proxy',
)
