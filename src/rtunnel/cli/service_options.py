"""The options of the commands that run under twistd, as Twisted parses them; each row of a role's options is one."""

from __future__ import annotations

import getopt
import os
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from typing import Any, ClassVar, NoReturn

from twisted.python import usage

import rtunnel
from rtunnel.cli.service_help import service_help
from rtunnel.masking import mask
from rtunnel.options import kinds
from rtunnel.options.layers import RawOption
from rtunnel.options.table import Option
from rtunnel.roles import ROLES, Resolved, Role
from rtunnel.roles.exposure import exposures
from rtunnel.roles.service import RoleService
from rtunnel.settings import SettingsError

__all__ = ["OneLineOptions", "ServiceOptions", "suggestion"]

_NAMES = frozenset(option.name for role in ROLES for option in role.rows)
_SECRETS = tuple(sorted(option.name for role in ROLES for option in role.rows if option.secret or option.kind.secret))
"""Options whose value is a secret."""


class OneLineOptions(usage.Options):
    """Options that are refused in one line on stderr and with status 1, where twistd would print all its usage."""

    title: ClassVar[str] = "rtunnel"

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        try:
            super().parseOptions(options)  # type: ignore[no-untyped-call]
        except usage.UsageError as error:
            self._refuse(self.explain(error))
        except SettingsError as error:
            self._refuse(error)

    def _refuse(self, error: SettingsError) -> NoReturn:
        sys.exit("\n".join(f"{self.title}: {line}" for line in str(error).splitlines()))

    def explain(self, error: usage.UsageError) -> SettingsError:
        """Twisted's error in our words."""
        cause = error.__context__
        if not isinstance(cause, getopt.GetoptError):
            return SettingsError(self.title, None, str(error))
        flag = _shown_flag(cause.opt)
        if "not recognized" in cause.msg:
            return SettingsError(flag, None, self.unknown(cause.opt))
        if "requires argument" in cause.msg:
            return SettingsError(flag, None, "needs a value")
        if "must not have an argument" in cause.msg:
            return SettingsError(flag, None, "takes no value")
        return SettingsError(flag, None, "ambiguous option; write the whole name")

    def unknown(self, name: str) -> str:
        """What to say about an option that does not exist."""
        # nothing resembles a single letter
        known = self.longOpt if len(name) > 1 else ()
        return "unknown option; " + suggestion(f"--{name}", (f"--{option.removesuffix('=')}" for option in known))

    def parseArgs(self, *rest: str) -> None:
        if rest:
            raise SettingsError(mask(rest[0]), None, 'unexpected argument; options begin with "--", see --help')

    def opt_help(self) -> NoReturn:
        """Show this help and end."""
        print(self, end="")
        sys.exit(0)

    opt_h = opt_help

    def opt_version(self) -> NoReturn:
        """Show the version and end."""
        print(f"rtunnel {rtunnel.__version__}")
        sys.exit(0)


def _shown_flag(name: str) -> str:
    """What looks like an option, without what may be the beginning of its value: of a password, where a space is missing."""
    if len(name) <= 1:
        return f"-{name}"
    before = re.match(r"[\w-]*", name)
    shown = before[0] if before else ""
    glued = next((secret for secret in _SECRETS if shown.startswith(secret) and shown != secret and shown not in _NAMES), None)
    shown = glued or shown
    return f"--{shown}" if shown == name else f"--{shown}..."


def suggestion(name: str, known: Iterable[str]) -> str:
    """What may be meant by a name that does not exist."""
    close = get_close_matches(name, list(known), 1)
    return f"did you mean {close[0]}?" if close else "--help lists them all"


def _opt_method(option: Option) -> Callable[..., None]:
    """The method with which :class:`twisted.python.usage.Options` takes an option."""

    def take_value(self: ServiceOptions, text: str) -> None:
        self.raw.append((option, option.flag, text))

    def take_switch(self: ServiceOptions) -> None:
        self.raw.append((option, option.flag, "true"))

    def refuse_secret(self: ServiceOptions, text: str) -> None:
        hint = f"command lines are visible to every user of this machine; use {option.flag}-file or the variable {option.variable}"
        raise SettingsError(option.flag, None, hint)

    method: Callable[..., None] = refuse_secret if option.secret else take_value if option.kind.metavar else take_switch
    method.__doc__ = option.help
    return method


class ServiceOptions(OneLineOptions):
    """The options of one command, and the settings that result from them.

    :param resolve: whether the settings are made as well; without them only :attr:`raw` is there.
    :ivar raw: the options on the command line, in their order.
    :ivar resolved: the settings, once the options are parsed.
    """

    role: ClassVar[Role[Any]]
    introduction: ClassVar[str]
    """The beginning of the help: the usage, what the command does, an example."""
    url_examples: ClassVar[str]
    """The same example as URLs of gost."""

    resolved: Resolved[Any]

    def __init_subclass__(cls) -> None:
        cls.title = f"rtunnel {cls.role.name}"
        for option in cls.role.rows:
            method = _opt_method(option)
            setattr(cls, f"opt_{option.name.replace('-', '_')}", method)
            if option.short:
                setattr(cls, f"opt_{option.short}", method)

    def __init__(self, *, resolve: bool = True) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.raw: list[RawOption] = []
        self._resolve = resolve

    def postOptions(self) -> None:
        if not self._resolve:
            return
        self.resolved = self.resolve()
        # a daemon may change its working directory before it reads the files again
        self.raw = [(option, key, os.path.abspath(text) if option.kind is kinds.FILE else text) for option, key, text in self.raw]

    def resolve(self) -> Resolved[Any]:
        """The settings for this command line, with the environment and the files as they are now.

        :raises SettingsError: a setting is missing or invalid, or a file cannot be read.
        """
        return self.role.load(self.raw, os.environ)

    @property
    def arguments(self) -> list[str]:
        """The options on the command line, as another process takes them."""
        return [word for option, _, text in self.raw for word in ((option.flag, text) if option.kind.metavar else (option.flag,))]

    @property
    def notices(self) -> tuple[str, ...]:
        """What to say at the start about the options and what they leave open, one line each."""
        return (*self.resolved.warnings, *exposures(self.resolved.settings))

    def make_service(self, reactor: Any) -> RoleService:
        """The service that does what the settings say; it is not started, and nothing is opened."""
        raise NotImplementedError

    def unknown(self, name: str) -> str:
        for role in ROLES:
            if name in {option.name for option in role.rows}:
                return f'an option of "rtunnel {role.name}", not of "{self.title}"'
        return super().unknown(name)

    def __str__(self) -> str:
        return service_help(self.role.name, self.introduction, self.role.rows, self.url_examples)
