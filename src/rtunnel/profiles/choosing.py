"""Which profile a command is meant to use: that of ``--profile``, one that is named in place of a host, or that of the variable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from rtunnel.options import environment
from rtunnel.options.layers import RawOption
from rtunnel.options.table import CLIENT, find
from rtunnel.profiles.profile import load_profile
from rtunnel.profiles.store import ProfileStore

__all__ = ["choose"]

OPTION: Final = find(CLIENT, "profile")


def choose(host: str, options: Sequence[RawOption], environ: Mapping[str, str]) -> tuple[str, list[RawOption]]:
    """The host that is meant, and the options with the profile that is meant by it.

    :param host: as it was given; ``""`` for none, then it is that of the profile, if one is given.
    :param options: of the command line.
    :raises SettingsError: a profile is given that cannot be used.
    """
    store = ProfileStore(environ)
    typed = [(key, text) for option, key, text in options if option == OPTION]
    if not typed and host in store:
        return load_profile(store, host, "HOST").host, [(OPTION, "HOST", host), *options]
    given = typed or [(key, text) for _, key, text in environment.options((OPTION,), environ)]
    if given:
        key, name = given[-1]
        return (load_profile(store, name, key).host if host in ("", name) else host), list(options)
    return host, list(options)
