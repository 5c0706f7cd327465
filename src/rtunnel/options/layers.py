"""The options given in one place (a command line, the environment, a file, a URL), by setting; and how they become settings.

A layer maps the path of a setting to its :class:`OptionValue`. Later layers override earlier ones (:func:`overlay`).
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
    """A value with the name and the text that the user gave.

    :ivar key: the name under which it was given.
    :ivar text: the text that was given; ``None`` for a secret, and for several texts.
    :ivar value: the parsed text.
    """

    key: str
    text: str | None
    value: Any


Layer = dict[str, OptionValue]


def put(layer: Layer, option: Option, key: str, text: str, kind: Kind | None = None) -> None:
    """Parse a text and add its value to a layer.

    :param key: the name under which it was given, for errors.
    :param kind: how it is parsed; ``None`` for the option's own kind.
    :raises SettingsError: it cannot be parsed.
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
        earlier = layer[option.field].value if option.field in layer else ()
        layer[option.field] = OptionValue(key, None, (*earlier, value))
    else:
        layer[option.field] = OptionValue(key, shown, value)


def _put_listen_address(layer: Layer, option: Option, key: str, text: str, listen: ListenAddress) -> None:
    layer[option.field] = OptionValue(key, text, listen.address)
    for field, value in (("transport", listen.transport), ("path", listen.path)):
        if value is not None:
            layer[field] = OptionValue(key, text, value)
    for field, file in listen.files:
        layer[field] = OptionValue(key, text, file)


def parts(text: str) -> list[str]:
    """The values of a list separated by commas; the text itself if it is empty."""
    return [part.strip() for part in text.split(",") if part.strip()] or [text]


def overlay(*layers: Mapping[str, OptionValue]) -> Layer:
    """One layer made of several; later ones override earlier ones."""
    return {field: value for layer in layers for field, value in layer.items()}


def require(layer: Layer, field: str, name: str, hint: str) -> None:
    """Check that a setting without a default was given.

    :param name: of its option.
    :raises SettingsError: it was not.
    """
    if field not in layer:
        raise SettingsError(name, None, f"missing; {hint}")


def construct(model: type[_Model], layer: Layer, group: str = "", **more: Any) -> _Model:
    """Make a settings object, and the groups of settings in it, from a layer; what the layer lacks has its default.

    The groups follow from the model, so that no option is accepted and then left unused.

    :param group: the path of the model in the settings, e.g. ``mux``.
    :param more: values of further fields.
    :raises SettingsError: a value is invalid; with the name and the text that the user gave.
    """
    prefix = f"{group}." if group else ""
    fields = attrs.fields_dict(model)  # type: ignore[arg-type]
    values = {name: layer[prefix + name].value for name in fields if prefix + name in layer}
    groups: dict[str, Any] = {
        name: construct(inner, layer, prefix + name)
        for name, field in fields.items()
        if name not in more and (inner := _group_model(field)) is not None
    }
    try:
        return model(**(groups | more | values))
    except SettingsError as error:
        option_value = layer.get(prefix + error.key)
        if option_value is None:
            raise error.about(name_of(prefix + error.key) or error.key, error.value) from None
        raise error.about(option_value.key, error.value if option_value.text is None else option_value.text) from None


def _group_model(field: attrs.Attribute[Any]) -> type | None:
    """The model of a field that is a group of settings, which is what makes its default; ``None`` for a single value."""
    inner = getattr(field.default, "factory", None)
    return inner if inner is not None and attrs.has(inner) else None
