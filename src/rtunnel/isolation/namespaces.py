"""System calls of Linux for namespaces: of the process that makes them, which has one thread.

``os.unshare`` is there from Python 3.12, and mounting nowhere, so they are called through ctypes. Sources: unshare(2),
user_namespaces(7), mount(2), pivot_root(2), netdevice(7), prctl(2).
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
from collections.abc import Callable
from typing import Any, Final

__all__ = ["Refused", "bind", "die_with_parent", "enter", "loopback_up", "mount_tmpfs", "pivot", "reap_orphans"]

CLONE_NEWNS: Final = 0x00020000
CLONE_NEWUSER: Final = 0x10000000
CLONE_NEWNET: Final = 0x40000000

MS_NOSUID: Final = 2
MS_NODEV: Final = 4
MS_BIND: Final = 4096
MS_REC: Final = 16384
MS_PRIVATE: Final = 1 << 18
MNT_DETACH: Final = 2

PR_SET_PDEATHSIG: Final = 1
PR_SET_CHILD_SUBREAPER: Final = 36

SIOCGIFFLAGS: Final = 0x8913
SIOCSIFFLAGS: Final = 0x8914
IFF_UP: Final = 1


class Refused(Exception):
    """The system has refused a step.

    :ivar step: which one, for people.
    :ivar errno: why.
    """

    def __init__(self, step: str, number: int) -> None:
        super().__init__(f"{step}: {os.strerror(number)}")
        self.step = step
        self.errno = number


def _call(step: str, name: str, *arguments: Any) -> None:
    """Call a function of the C library.

    :raises Refused: it has failed.
    """
    library = ctypes.CDLL(None, use_errno=True)
    function: Callable[..., int] | None = getattr(library, name, None)
    if function is None:
        raise Refused(step, errno.ENOSYS)
    if function(*arguments) != 0:
        raise Refused(step, ctypes.get_errno())


def enter(*, network: bool) -> None:
    """Enter a mount namespace, whose mounts nobody else sees, and perhaps one of networks.

    Whoever may not do that as it is gets a user namespace first, in which it is the same user and group as outside.

    :param network: whether a network namespace is wanted, too: it has nothing but a loopback of its own.
    :raises Refused: the system does not allow it.
    """
    flags = CLONE_NEWNS | (CLONE_NEWNET if network else 0)
    try:
        # root keeps what it is
        _call("unshare", "unshare", flags)
    except Refused as error:
        if error.errno != errno.EPERM:
            raise
        _enter_user_namespace(flags)
    # what is mounted here later must not appear outside
    _mount("mount --make-rprivate", None, "/", None, MS_REC | MS_PRIVATE)


def _enter_user_namespace(flags: int) -> None:
    user, group = os.geteuid(), os.getegid()
    _call("unshare", "unshare", CLONE_NEWUSER | flags)
    for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        try:
            with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
                file.write(text)
        except OSError as error:
            raise Refused(f"writing /proc/self/{name}", error.errno or 0) from None


def _mount(step: str, source: str | None, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    source_, target_, kind_, options_ = (None if text is None else os.fsencode(text) for text in (source, target, kind, options))
    _call(step, "mount", source_, target_, kind_, ctypes.c_ulong(flags), options_)


def bind(source: str, target: str) -> None:
    """Have a file or folder at another place, too, with everything that is mounted below it.

    :raises Refused: the system does not allow it.
    """
    _mount(f"mount --rbind at {target}", source, target, None, MS_BIND | MS_REC)


def mount_tmpfs(target: str) -> None:
    """Mount an empty file system in memory.

    :raises Refused: the system does not allow it.
    """
    _mount(f"mounting a tmpfs at {target}", "tmpfs", target, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755,size=16m")


_PIVOT_ROOT: Final = {"x86_64": 155, "aarch64": 41, "riscv64": 41, "armv7l": 218, "ppc64le": 203, "s390x": 217}
"""Numbers of the system call, for which some C libraries have no function."""


def pivot(root: str) -> None:
    """Make a mounted folder the root; what was it is not to be seen any more.

    :raises Refused: the system does not allow it.
    """
    here = os.getcwd()
    os.chdir(root)
    number = _PIVOT_ROOT.get(os.uname().machine)
    if number is None:
        raise Refused("pivot_root", errno.ENOSYS)
    # the old root is stacked at the new one, and taken away from there (pivot_root(2), "pivot_root(".", ".")")
    _call("pivot_root", "syscall", ctypes.c_long(number), b".", b".")
    _call("umount of the former root", "umount2", b".", MNT_DETACH)
    try:
        os.chdir(here)
    except OSError:
        os.chdir("/")


def loopback_up() -> None:
    """Have the loopback of a new network namespace work.

    :raises Refused: the system does not allow it.
    """
    import fcntl

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        try:
            found = fcntl.ioctl(control, SIOCGIFFLAGS, struct.pack("16sh22x", b"lo", 0))
            (flags,) = struct.unpack_from("16xh", found)
            fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", flags | IFF_UP))
        except OSError as error:
            raise Refused("bringing up the loopback", error.errno or 0) from None


def reap_orphans() -> None:
    """Become the parent of what one's children leave behind, where the system knows that.

    :raises Refused: it does not.
    """
    _call("prctl", "prctl", PR_SET_CHILD_SUBREAPER, *map(ctypes.c_ulong, (1, 0, 0, 0)))


def die_with_parent(number: int) -> None:
    """Get a signal when the parent ends, where the system knows that.

    :raises Refused: it does not.
    """
    _call("prctl", "prctl", PR_SET_PDEATHSIG, *map(ctypes.c_ulong, (number, 0, 0, 0)))
