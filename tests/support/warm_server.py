"""The process that has imported rtunnel, and forks for each that a test starts; a script, which imports nothing of the tests.

Its arguments are more modules to import, its standard input is the socket of :mod:`tests.support.warm`. When that is closed, it
ends, and what it has forked goes on.
"""

from __future__ import annotations

import gc
import json
import os
import pkgutil
import select
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

STANDARD = 3
"""How many descriptors each process gets."""


def import_all(more: Sequence[str]) -> None:
    """Import all of rtunnel, but for what runs when it is imported, and more; none of it chooses a reactor."""
    import rtunnel.__main__

    for name in more:
        import_module(name)
    for module in pkgutil.walk_packages(rtunnel.__path__, "rtunnel."):
        if not module.name.endswith(".__main__"):
            import_module(module.name)
    # pages that no collection writes to are shared with the children
    gc.collect()
    gc.freeze()


def report(channel: socket.socket) -> None:
    """Say which children have ended, and how."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        channel.send(json.dumps({"ended": pid, "status": os.waitstatus_to_exitcode(status)}).encode())


def serve(channel: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """Fork for each order; returns in a child, with its order and the descriptors that it gets, and when the tests have ended."""
    woken, wake = socket.socketpair()
    wake.setblocking(False)
    signal.set_wakeup_fd(wake.fileno())
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        ready, _, _ = select.select([channel, woken], [], [])
        if woken in ready:
            woken.recv(4096)
            report(channel)
        if channel in ready:
            data, descriptors, _, _ = socket.recv_fds(channel, 1 << 20, STANDARD)
            if not data:
                return None
            pid = os.fork()
            if not pid:
                signal.set_wakeup_fd(-1)
                for end in (channel, woken, wake):
                    end.close()
                return json.loads(data), descriptors
            for descriptor in descriptors:
                os.close(descriptor)
            channel.send(json.dumps({"started": pid}).encode())


def become(order: dict[str, Any], descriptors: list[int]) -> None:
    """Be what was ordered, as if it had been started by ``python -m rtunnel``.

    :param descriptors: its standard input, output and errors.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for standard, descriptor in enumerate(descriptors):
        os.dup2(descriptor, standard)
        os.close(descriptor)
    os.chdir(order["cwd"])
    os.environ.clear()
    os.environ.update(order["env"])
    from rtunnel.__main__ import __file__

    sys.path[0:0] = [order["cwd"]]
    sys.argv = [__file__, *order["arguments"]]


def run() -> int:
    """Run the command; returns the exit status."""
    from rtunnel.__main__ import main

    try:
        return main()
    except SystemExit as stopped:
        if isinstance(stopped.code, int | None):
            return stopped.code or 0
        print(stopped.code, file=sys.stderr)
        return 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
        return 1


def measured(command: Callable[[], int]) -> int:
    """Call something, and measure which lines it runs if the tests are measured."""
    if "COVERAGE_PROCESS_CONFIG" not in os.environ:
        return command()
    import coverage

    measuring = coverage.process_startup()
    try:
        return command()
    finally:
        if measuring is not None:
            measuring.stop()
            measuring.save()


if __name__ == "__main__":
    import_all(sys.argv[1:])
    ordered = serve(socket.socket(fileno=0))
    if ordered is not None:
        become(*ordered)
        status = measured(run)
        # the end of the interpreter would touch, and so copy, every page that it shares with its parent
        os._exit(status)
