"""What settings are checked with: the one error, and validators that raise it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs

from rtunnel.ids import mask_ids

__all__ = ["DAY", "PATH", "SettingsError", "SettingsErrors", "Validator", "check", "header_value", "seconds", "whole"]

_SHOWN = 120  # characters of a value that an error repeats
_NAMED = 500  # characters of a name, which may begin with the path of a file

Validator = Callable[[Any, "attrs.Attribute[Any]", Any], None]


class SettingsError(Exception):
    """A setting that is not valid. As a text it shows of any tunnel's ID the first characters only.

    :param key: the name of the setting as the user knows it.
    :param value: what was given, or ``None`` when nothing was given or it is a secret.
    :param hint: what is wrong and what to write instead.
    """

    def __init__(self, key: str, value: str | None, hint: str) -> None:
        super().__init__(key, value, hint)
        self.key = key
        self.value = value
        self.hint = hint

    def about(self, key: str, value: str | None) -> SettingsError:
        """The same complaint with the name and the text that the user typed."""
        return SettingsError(key, value, self.hint)

    def __str__(self) -> str:
        subject = plain(mask_ids(self.key), _NAMED)
        if self.value is not None:
            subject += f' "{plain(mask_ids(self.value))}"'
        return f"{subject}: {plain(self.hint, None)}"


class SettingsErrors(SettingsError):
    """Several at once, in their order; as a text, one line for each.

    :param errors: at least one.
    """

    def __init__(self, errors: Sequence[SettingsError]) -> None:
        super().__init__(errors[0].key, errors[0].value, errors[0].hint)
        self.errors = tuple(errors)

    def __str__(self) -> str:
        return "\n".join(map(str, self.errors))


def plain(text: str, limit: int | None = _SHOWN) -> str:
    """Text on one line, whatever it holds."""
    if limit is not None and len(text) > limit:
        text = text[: limit - 3] + "..."
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)


def check(test: Callable[[Any], bool], hint: str) -> Validator:
    """A validator for what passes a test.

    :param hint: what is wrong with anything else, and what to write instead.
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
    """A time between two bounds; *zero* says what 0 means where it is allowed as well."""
    return check(
        lambda value: isinstance(value, int | float) and (low <= value <= high or (zero is not None and value == 0)),
        f"must be a time from {low:g}s to {high:g}s" + (f", or 0 for {zero}" if zero else ""),
    )


def header_value(text: str) -> bool:
    """Whether the text can stand in a request line or header without changing its meaning (visible ASCII)."""
    return text.isascii() and text.isprintable() and " " not in text


DAY = 86400.0


PATH = check(
    lambda path: path.startswith("/") and header_value(path) and not set(path) & set("?#"),
    'must be a path that begins with "/", without spaces, "?" and "#", e.g. /proxy',
)
