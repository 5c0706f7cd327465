"""``python -m tests.support.without_posix ...``: rtunnel where the parts of a POSIX system are missing that Windows does not have.

Modules, signals, kinds of sockets and system calls are taken away, and Twisted takes its branches for Windows. What Windows does
differently with what it has (paths, select) cannot be tried that way.
"""

from __future__ import annotations

import asyncio  # noqa: F401
import builtins
import ctypes  # noqa: F401
import errno
import multiprocessing  # noqa: F401
import os
import platform  # noqa: F401
import select
import signal
import socket
import ssl  # noqa: F401
import subprocess  # noqa: F401
import sys
import tempfile  # noqa: F401
import uuid  # noqa: F401
from typing import Any

__all__ = ["become_poor"]

MODULES = frozenset({"fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "syslog", "readline", "posix_ipc"})
"""That do not exist there."""
SIGNALS = ("SIGHUP", "SIGUSR1", "SIGUSR2", "SIGCHLD", "SIGPIPE", "SIGQUIT", "SIGALRM", "SIGKILL", "SIGSTOP", "SIGCONT", "SIGWINCH")
SOCKETS = (
    "AF_UNIX",
    "TCP_INFO",
    "SOCK_CLOEXEC",
    "SOCK_NONBLOCK",
    "SO_REUSEPORT",
    "TCP_USER_TIMEOUT",
    "MSG_DONTWAIT",
    "SO_PEERCRED",
)
CALLS = (
    *("fork", "getuid", "geteuid", "getgid", "getegid", "setuid", "setgid", "getgroups", "initgroups", "chown", "fchown"),
    *("uname", "getloadavg", "sysconf", "statvfs", "sendfile", "pread", "mkfifo", "setsid", "killpg", "getpgid", "wait4", "waitid"),
    *("sched_getaffinity", "O_NOFOLLOW", "O_CLOEXEC", "O_NONBLOCK", "O_DIRECTORY"),
)


def become_poor() -> None:
    """Take it all away from this process, before Twisted and rtunnel are imported."""
    for module, names in ((signal, SIGNALS), (socket, SOCKETS), (os, CALLS), (select, ("epoll", "poll", "kqueue"))):
        for name in names:
            if hasattr(module, name):
                delattr(module, name)
    for name in [name for name in dir(errno) if name.startswith("E")]:
        # Twisted's names for them there
        setattr(errno, f"WSA{name}", getattr(errno, name))
    _block_modules()
    _block_proc()
    _tell_twisted()


def _block_modules() -> None:
    for name in MODULES:
        sys.modules[name] = None  # type: ignore[assignment]


def _block_proc() -> None:
    """There is no /proc."""
    opened = builtins.open

    def guarded(file: Any, *more: Any, **named: Any) -> Any:
        if isinstance(file, str | os.PathLike) and os.fspath(file).startswith("/proc/"):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), file)
        return opened(file, *more, **named)

    builtins.open = guarded


def _tell_twisted() -> None:
    from twisted.python import runtime

    sys.platform = "win32"
    runtime.platformType = "win32"
    runtime.platform = runtime.Platform("nt", "win32")


if __name__ == "__main__":
    become_poor()
    from rtunnel.__main__ import main

    sys.exit(main(sys.argv[1:]))
