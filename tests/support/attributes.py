"""What an object has, whether its class is interpreted or compiled."""

from __future__ import annotations

__all__ = ["attributes"]


def attributes(thing: object) -> dict[str, object]:
    """The attributes of an object and of its class, but for methods. Objects of compiled classes have no ``__dict__``."""
    names = [name for name in dir(thing) if not name.startswith("__") and hasattr(thing, name)]
    return {name: value for name in names if not callable(value := getattr(thing, name))}
