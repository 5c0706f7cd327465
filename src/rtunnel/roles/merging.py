"""Options from a profile, a configuration file, the environment, the command line and gost's URLs, merged.

The file overrides the profile, the environment overrides the file, the command line overrides the environment, and a URL overrides
them all for its own listener or connector. Where a plain option and a URL are for the same setting, as ``--listen`` and ``-L`` are,
only one of them may be given; one on the command line also overrides the other in the environment.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import attrs

from rtunnel import urls
from rtunnel.config.layout import CONFIG, PROFILE, FileLayout
from rtunnel.config.reading import FileReading, read_file
from rtunnel.options import environment
from rtunnel.options.layers import Layer, RawOption, construct, overlay, put
from rtunnel.options.table import Option
from rtunnel.profiles.profile import Profile, load_profile
from rtunnel.profiles.store import ProfileStore
from rtunnel.settings import SettingsError, SettingsErrors

__all__ = ["Merged", "Source", "Sources", "conflict"]

_Model = TypeVar("_Model")


def conflict(key: str, other: str) -> SettingsError:
    """The error of two options for the same setting."""
    return SettingsError(key, None, f"conflicts with {other}; give only one of them")


@attrs.frozen
class Source:
    """The options of one place.

    :ivar layer: plain options, by setting.
    :ivar urls: gost's URLs by option, each with the name under which it was given.
    """

    layer: Layer = attrs.field(factory=dict)
    urls: dict[str, list[tuple[str, str]]] = attrs.field(factory=dict)

    @classmethod
    def read(cls, options: Iterable[RawOption]) -> Source:
        """Parse the values of options.

        :raises SettingsError: a value cannot be parsed, or two options are for the same setting.
        """
        source = cls()
        for option, key, text in options:
            if not option.field:
                source.urls.setdefault(option.name, []).append((key, text))
            elif option.many:
                put(source.layer, option, key, text)
            else:
                source._put_single(option, key, text)
        return source

    def _put_single(self, option: Option, key: str, text: str) -> None:
        values: Layer = {}
        put(values, option, key, text)
        for field, value in values.items():
            other = self.layer.get(field)
            if other is not None and other.key != key:
                raise conflict(key, other.key)
            self.layer[field] = value

    def without(self, field: str, url: str) -> Source:
        """The same without a setting: the option for it, with everything else that this option set, and the URLs."""
        removed = self.layer.get(field)
        layer = {name: value for name, value in self.layer.items() if removed is None or value.key != removed.key}
        return Source(layer, {name: texts for name, texts in self.urls.items() if name != url})


@attrs.frozen
class Sources:
    """The options of a role from all places.

    :ivar layout: of the role's configuration file.
    :ivar variables: the environment as it is.
    :ivar profile: the profile, if one is named.
    :ivar file: the configuration file, if one is named.
    :ivar environment: the options in the environment.
    :ivar command_line: the options on the command line.
    """

    layout: FileLayout
    variables: Mapping[str, str]
    profile: Profile | None
    file: FileReading | None
    environment: Source
    command_line: Source

    @classmethod
    def read(cls, options: Iterable[RawOption], variables: Mapping[str, str], layout: FileLayout) -> Sources:
        """Read the environment, the file and the profile as well.

        :param options: the command line.
        :raises SettingsError: a value cannot be parsed, or the file or the profile cannot be read.
        """
        command_line = Source.read(options)
        around = Source.read(environment.options(layout.variables, variables))
        named = command_line.layer.get(CONFIG) or around.layer.get(CONFIG)
        file = read_file(named.value, layout, variables) if named is not None else None
        chosen = command_line.layer.get(PROFILE) or around.layer.get(PROFILE)
        profile = load_profile(ProfileStore(variables), chosen.value, chosen.key) if chosen is not None else None
        return cls(layout, variables, profile, file, around, command_line)

    def exclusive(self, field: str, url: str) -> Sources:
        """The same, where a setting was given as a plain option or as URLs.

        :raises SettingsError: both were given in the same place.
        """
        around = self.environment
        if field in self.command_line.layer or url in self.command_line.urls:
            around = around.without(field, url)
        for source in (self.command_line, around):
            if field in source.layer and url in source.urls:
                raise conflict(source.layer[field].key, source.urls[url][0][0])
        return attrs.evolve(self, environment=around)

    def urls_of(self, name: str, field: str) -> list[tuple[str, str]]:
        """The URLs of one option.

        :param field: the setting that they are for.
        :raises SettingsError: the configuration file has that setting as well.
        """
        found = self.command_line.urls.get(name) or self.environment.urls.get(name, [])
        if found and self.file is not None:
            if self.file.items:
                raise conflict(found[0][0], self.file.items[0].where)
            if field in self.file.base:
                raise conflict(found[0][0], self.file.base[field].key)
        return found

    def merge(self, items: Sequence[urls.Reading], common: Sequence[urls.Reading] = ()) -> Merged:
        """Overlay the profile, the top of the file, an item of it, the environment, the command line and the URLs.

        :param items: URLs, each for one listener or connector.
        :param common: URLs for all of them.
        :raises SettingsError: the password of the profile would go to another server than its own.
        """
        over = (self.environment.layer, self.command_line.layer, *(reading.layer for reading in common))
        below = self.profile.layer if self.profile is not None else {}
        top = overlay(below, self.file.base) if self.file is not None else below
        listed = self.file.items if self.file is not None else ()
        base = overlay(top, *over)
        layers = [overlay(top, item.layer, *over) for item in listed]
        layers = layers or [overlay(base, reading.layer) for reading in items] or [base]
        if self.profile is not None:
            for layer in layers:
                self.profile.guard(layer)
        warnings = [warning for reading in (*common, *items) for warning in reading.warnings]
        if self.file is not None:
            warnings += self.file.warnings
        return Merged(
            layout=self.layout,
            file=self.file,
            base=base,
            items=tuple(layers),
            warnings=(*warnings, *environment.misspelt(self.variables)),
            places=tuple(f"{item.where}." for item in listed),
        )


@attrs.frozen
class Merged:
    """The merged options of a role, not yet validated.

    :ivar layout: of the role's configuration file.
    :ivar file: the configuration file, if there is one.
    :ivar base: for the whole process.
    :ivar items: for each listener or connector.
    :ivar warnings: options without effect, and such that are unsafe, one line each.
    :ivar places: where each of the items is in a file, for errors about settings that are missing.
    """

    layout: FileLayout
    file: FileReading | None
    base: Layer
    items: tuple[Layer, ...]
    warnings: tuple[str, ...]
    places: tuple[str, ...] = ()

    def each(self, build: Callable[[Layer], Iterable[_Model]]) -> tuple[_Model, ...]:
        """Build the settings of all items.

        :raises SettingsError: an item is invalid; the errors of all items at once.
        """
        models: list[_Model] = []
        errors: list[SettingsError] = []
        for number, layer in enumerate(self.items):
            try:
                models += build(layer)
            except SettingsError as error:
                errors.append(self._in_file(error, self.places[number] if self.places else None))
        if errors:
            raise errors[0] if len(errors) == 1 else SettingsErrors(errors)
        return tuple(models)

    def construct(self, model: type[_Model], **items: Any) -> _Model:
        """Build the settings of the process around its items.

        :raises SettingsError: they are invalid, or the items conflict with each other.
        """
        try:
            return construct(model, self.base, **items)
        except SettingsError as error:
            raise self._about_item(error) or self._in_file(error, None) from None

    def _about_item(self, error: SettingsError) -> SettingsError | None:
        """The same error at the place of the item in the file that has the value; of several items at the last one."""
        for layer in reversed(self.items if self.file is not None else ()):
            for option_value in layer.values():
                value = option_value.value
                if error.value in [str(one) for one in (value if isinstance(value, tuple) else (value,))]:
                    return error.about(option_value.key, error.value)
        return None

    def _in_file(self, error: SettingsError, place: str | None) -> SettingsError:
        """The same error about a missing option, with the key of a file and its place there."""
        place = place or (f"{self.file.path}: " if self.file is not None else None)
        if place is None or not error.key.startswith("-"):
            return error
        paths = {leaf.option.flag: path for path, leaf in self.layout.top.leaves() if leaf.single}
        hint = _GOST_ALTERNATIVE.sub("", _FLAG.sub(r"\1: ", error.hint))
        return SettingsError(place + paths.get(error.key, error.key), error.value, hint)


_FLAG = re.compile(r"--([a-z][a-z-]*) ")
_GOST_ALTERNATIVE = re.compile(r" \([^()]*-[LF]\b[^()]*\)")
