"""Which profile a command is meant to use: that of ``--profile`` or its variable, else one that is named in place of a host."""

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
    given = [(key, text) for option, key, text in (*environment.options((OPTION,), environ), *options) if option == OPTION]
    if given:
        # the command line has the last word
        key, name = given[-1]
        return (load_profile(store, name, key).host if host in ("", name) else host), list(options)
    if host in store:
        return load_profile(store, host, "HOST").host, [(OPTION, "HOST", host), *options]
    return host, list(options)
