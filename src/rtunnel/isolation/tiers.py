"""How far a command can be isolated, and why the system does not allow more."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable
from enum import StrEnum
from pathlib import Path

__all__ = ["Tier", "Wish", "first_choice", "first_unprivileged_port", "read_setting", "why_refused"]

ReadSetting = Callable[[str], str]
"""The text of a file of ``/proc``; ``""`` where there is none."""


class Tier(StrEnum):
    """What a command gets of its own."""

    NONE = "none"
    """Nothing: it needs ports of loopback, and variables that lead there."""
    NAMES = "names"
    """Names and files."""
    NET = "net"
    """A network as well, in which nothing else is."""


class Wish(StrEnum):
    """What is asked for; the values are those of ``--isolate``."""

    AUTO = "auto"
    """As far as it is needed and allowed."""
    NAMES = "names"
    NET = "net"
    NONE = "none"


def read_setting(path: str) -> str:
    """See :data:`ReadSetting`."""
    try:
        return Path("/proc", path).read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""


def first_unprivileged_port(read: ReadSetting = read_setting) -> int:
    """The first port at which everybody may listen (ip(7))."""
    text = read("sys/net/ipv4/ip_unprivileged_port_start")
    return int(text) if text.isdecimal() else 1024


def first_choice(wish: Wish, ports: Iterable[int], first_port: int) -> Tier:
    """The tier to try.

    :param ports: at which has to be listened.
    :param first_port: the first one that is permitted outside of a network of one's own.
    """
    if wish is not Wish.AUTO:
        return Tier(wish.value)
    return Tier.NET if any(port < first_port for port in ports) else Tier.NAMES


def why_refused(number: int, read: ReadSetting = read_setting) -> str:
    """Which setting forbids namespaces to users, and how to allow them.

    :param number: with which error they were refused.
    """
    if read("sys/kernel/apparmor_restrict_unprivileged_userns") == "1" and number in (errno.EPERM, errno.EACCES):
        return "kernel.apparmor_restrict_unprivileged_userns is 1; set it to 0, or give Python an AppArmor profile with userns"
    if read("sys/user/max_user_namespaces") == "0":
        return "user.max_user_namespaces is 0; set it to 1000 for example"
    if number == errno.ENOSPC:
        return "user.max_user_namespaces is reached; raise it"
    if read("sys/kernel/unprivileged_userns_clone") == "0":
        return "kernel.unprivileged_userns_clone is 0; set it to 1"
    if number in (errno.ENOSYS, errno.EINVAL):
        return "this kernel has no user namespaces"
    return (
        "a seccomp profile, as containers have it, or another policy of the system forbids user namespaces; allow unshare and mount"
    )
