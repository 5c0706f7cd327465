"""The settings of ``rtunnel dev``: what is taken of a host's requests, and what a command on this machine gets of its pod."""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from rtunnel.routing.globs import Glob
from rtunnel.settings.address import Address
from rtunnel.settings.checks import SettingsError, check
from rtunnel.settings.client import ClientSettings
from rtunnel.settings.local_forward import LocalForward

__all__ = ["DevSettings", "EnvironmentWishes", "ReachWishes"]


def _all_globs(patterns: Iterable[tuple[Glob, ...]]) -> tuple[Glob, ...]:
    return tuple(glob for several in patterns for glob in several)


@attrs.frozen(kw_only=True)
class EnvironmentWishes:
    """What is wanted of a pod's environment, and beside it.

    :ivar include: those of its variables that are taken; empty for all.
    :ivar exclude: those that are not.
    :ivar rename: new names, as pairs.
    :ivar sets: variables that are set, whatever others say, as pairs.
    :ivar unset: names that the command does not get.
    :ivar file: a dotenv file, ``None`` for none.
    :ivar local_wins: whether a variable that this machine has stays.
    """

    include: tuple[Glob, ...] = attrs.field(default=(), converter=_all_globs)
    exclude: tuple[Glob, ...] = attrs.field(default=(), converter=_all_globs)
    rename: tuple[tuple[str, str], ...] = ()
    sets: tuple[tuple[str, str], ...] = attrs.field(default=(), repr=False)
    unset: tuple[str, ...] = ()
    file: str | None = None
    local_wins: bool = False


@attrs.frozen(kw_only=True)
class ReachWishes:
    """Local ports that lead to what a pod reaches, besides those that isolation needs.

    :ivar proxy: where a proxy listens, ``None`` for nowhere.
    :ivar forwards: ports that lead to one destination each.
    """

    proxy: Address | None = None
    forwards: tuple[LocalForward, ...] = ()


@attrs.frozen(kw_only=True)
class DevSettings:
    """What ``rtunnel dev`` does.

    :ivar client: how the requests come here.
    :ivar pod_host: the host that is worked on.
    :ivar env: see :class:`EnvironmentWishes`.
    :ivar copied_files: where the files of the pod are for the command: ``auto``, a directory, or ``off``.
    :ivar cover: paths at which the files of the pod may be although something is there.
    :ivar restart_on_change: whether the command is started anew when they change.
    :ivar reach: see :class:`ReachWishes`.
    :ivar isolate: what the command has of its own: ``auto``, ``names``, ``net`` or ``none``.
    :ivar publish: ports of the command that are open from the start where it has a network of its own.
    :ivar run: the command and its arguments; empty for none.
    :ivar wait: whether it is started when the requests come here, and not at once.
    :ivar output: the file to which it writes in place of the terminal, ``None`` for the terminal.
    :ivar plain: whether there are plain lines also where there could be a live screen.
    """

    client: ClientSettings
    pod_host: str = attrs.field(validator=check(bool, "is empty; write the host that you work on"))
    env: EnvironmentWishes = attrs.field(factory=EnvironmentWishes)
    copied_files: str = "auto"
    cover: tuple[str, ...] = ()
    restart_on_change: bool = False
    reach: ReachWishes = attrs.field(factory=ReachWishes)
    isolate: str = attrs.field(
        default="auto", validator=check(lambda text: text in ("auto", "names", "net", "none"), "must be auto, names, net or none")
    )
    publish: tuple[int, ...] = attrs.field(
        default=(), validator=check(lambda ports: all(0 < port < 65536 for port in ports), "not a port from 1 to 65535")
    )
    run: tuple[str, ...] = ()
    wait: bool = True
    output: str | None = None
    plain: bool = False

    def __attrs_post_init__(self) -> None:
        if self.output is not None and not self.run:
            raise SettingsError("output", self.output, "is for the output of a command, and there is none; give one after --")
        if self.restart_on_change and not self.run:
            raise SettingsError("restart_on_change", "true", "there is no command to start anew; give one after --")
