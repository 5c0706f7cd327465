"""What server, client and visitor have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Generic, TypeVar

import attrs

from rtunnel.config.layout import FileLayout
from rtunnel.options.layers import RawOption
from rtunnel.options.table import Option
from rtunnel.roles.merging import Merged
from rtunnel.settings import ClientSettings, DevSettings, ServerSettings

__all__ = ["Resolved", "Role"]

_Settings_co = TypeVar("_Settings_co", bound=ServerSettings | ClientSettings | DevSettings, covariant=True)


@attrs.frozen
class Resolved(Generic[_Settings_co]):
    """The settings that a user's options result in.

    :ivar settings: valid.
    :ivar warnings: options without effect and options that are unsafe, one line each.
    """

    settings: _Settings_co
    warnings: tuple[str, ...]


@attrs.frozen
class Role(Generic[_Settings_co]):
    """How the options of one command become settings, in two steps.

    :ivar layout: of its configuration file, with the rows of its options.
    :ivar merge: merges the options of all places; takes the command line and the environment.
    :ivar validate: makes settings of what was merged; takes the environment as well, which may name proxies.
    """

    layout: FileLayout
    merge: Callable[[Iterable[RawOption], Mapping[str, str]], Merged]
    validate: Callable[[Merged, Mapping[str, str]], Resolved[_Settings_co]]

    @property
    def name(self) -> str:
        """The name of the command: ``server``, ``client`` or ``visitor``."""
        return self.layout.role

    @property
    def rows(self) -> tuple[Option, ...]:
        """Its options."""
        return self.layout.rows

    def load(self, options: Iterable[RawOption], environ: Mapping[str, str]) -> Resolved[_Settings_co]:
        """The settings for a command line and an environment, and for the configuration file that they name.

        :raises SettingsError: a setting is missing or invalid, or a file cannot be read.
        """
        return self.validate(self.merge(options, environ), environ)
