"""What was given in one place (a command line, the environment, a URL), by setting; and how it becomes settings.

A layer maps the path of a setting to its :class:`OptionValue`. Layers are laid over each other: the environment lies below
the command line, and that below a URL, which speaks for its own listener or connector only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import attrs

from rtunnel.options.kinds import UNSET, Kind, ListenAddress
from rtunnel.options.table import Option, name_of
from rtunnel.settings import SettingsError

__all__ = ["Layer", "OptionValue", "RawOption", "construct", "overlay", "parts", "put", "require"]

RawOption = tuple[Option, str, str]
"""An option, the name under which it was given (``--path``, ``RTUNNEL_PATH``) and its text."""

_Model = TypeVar("_Model")


@attrs.frozen
class OptionValue:
    """A value with the name and the text under which the user gave it.

    :ivar key: the name as the user typed it.
    :ivar text: what the user typed, ``None`` when it is a secret or several texts.
    :ivar value: what it means.
    """

    key: str
    text: str | None
    value: Any


Layer = dict[str, OptionValue]


def put(layer: Layer, option: Option, key: str, text: str, kind: Kind | None = None) -> None:
    """Read a text and add what it means.

    :param key: the name to blame.
    :param kind: the form of the text, ``None`` for the option's own.
    :raises SettingsError: the text does not have the form.
    """
    kind = kind or option.kind
    shown = None if kind.secret else text
    try:
        value = kind.parse(text)
    except ValueError as error:
        raise SettingsError(key, shown, str(error)) from None
    if value is UNSET:
        return
    if isinstance(value, ListenAddress):
        _put_listen_address(layer, option, key, text, value)
    elif option.many:
        before = layer[option.field].value if option.field in layer else ()
        layer[option.field] = OptionValue(key, None, (*before, value))
    else:
        layer[option.field] = OptionValue(key, shown, value)


def _put_listen_address(layer: Layer, option: Option, key: str, text: str, place: ListenAddress) -> None:
    layer[option.field] = OptionValue(key, text, place.address)
    for field, value in (("transport", place.transport), ("path", place.path)):
        if value is not None:
            layer[field] = OptionValue(key, text, value)


def parts(text: str) -> list[str]:
    """The values of a list with commas; the text itself when there are none."""
    return [part.strip() for part in text.split(",") if part.strip()] or [text]


def overlay(*layers: Mapping[str, OptionValue]) -> Layer:
    """One layer out of several; the later ones win."""
    return {field: given for layer in layers for field, given in layer.items()}


def require(layer: Layer, field: str, name: str, hint: str) -> None:
    """Insist on a setting that has no default.

    :raises SettingsError: nobody gave it.
    """
    if field not in layer:
        raise SettingsError(name, None, f"is missing; {hint}")


def construct(model: type[_Model], layer: Layer, group: str = "", **more: Any) -> _Model:
    """Make a settings object out of what was given for its fields.

    :param group: the path of the model in the settings, e.g. ``mux``.
    :param more: values of further fields.
    :raises SettingsError: a value is out of bounds; it names what the user typed.
    """
    prefix = f"{group}." if group else ""
    names = [attribute.name for attribute in attrs.fields(model)]  # type: ignore[arg-type]
    values = {name: layer[prefix + name].value for name in names if prefix + name in layer}
    try:
        return model(**(more | values))
    except SettingsError as error:
        given = layer.get(prefix + error.key)
        if given is None:
            raise error.about(name_of(prefix + error.key) or error.key, error.value) from None
        raise error.about(given.key, error.value if given.text is None else given.text) from None
