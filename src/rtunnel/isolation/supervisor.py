"""The process between rtunnel and a command: isolates it, starts it, and ends what it leaves.

It is a fresh process without Twisted, since a process with threads cannot enter a user namespace. It has one connection, a unix
socket with requests of rtunnel as lines of JSON, and answers each with a line, in turn; a descriptor goes with the answers to
``listen`` and ``connect``. When the command ends it says so, without being asked. When rtunnel is gone, however that happened, the
connection ends, and so does everything that was started.

    {"do": "isolate", "network": true}              enter namespaces
    {"do": "mount", "binds": [[SOURCE, TARGET]]}    have files and folders at other paths
    {"do": "listen", "host": H, "port": P}          a listening socket of this network namespace
    {"do": "connect", "host": H, "port": P}         a connection within it
    {"do": "ports"}                                 the ports at which something listens in this network namespace
    {"do": "run", "argv": [...], "env": {...}, "output": PATH, "ignored": [N]}      start the command; without a path it writes
                                                    where we do; signals that it ignores from the start
    {"do": "signal", "number": N}                   send it a signal; not answered

    {"ok": true}, {"ok": true, "ports": [N]}, {"failed": TEXT, "errno": N}, {"ended": STATUS}

The command is in the process group of rtunnel, so job control and Ctrl-C are the terminal's and the shell's business, as with any
wrapper. What a command has started and not ended itself is ended with it: first asked (SIGHUP, SIGTERM), then killed.
"""

from __future__ import annotations

import errno
import json
import os
import select
import shutil
import signal
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, NoReturn

from rtunnel.isolation import listeners, mounting, namespaces

__all__ = ["CONTROL", "GRACE", "NOT_EXECUTABLE", "main"]

CONTROL = 3
"""The descriptor of the connection."""
GRACE = 2.0
"""Seconds that what a command leaves has to end by itself."""
NOT_EXECUTABLE = 126
"""The exit status of a shell for a program that cannot be executed."""

_HANDLED = (signal.SIGCHLD, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP)
"""Those of the terminal are for the command, which gets them as well; others are passed on by rtunnel."""


class Supervisor:
    """Carries out requests until the connection ends.

    :param control: the connection.
    """

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._child: int | None = None
        self._buffer = b""
        self._actions: Mapping[str, Callable[[dict[str, Any]], int | list[int] | None]] = {
            "isolate": self._isolate,
            "mount": self._mount,
            "listen": self._listen,
            "connect": self._connect,
            "ports": self._ports,
            "run": self._run,
        }

    def serve(self) -> None:
        """Serve requests; returns when the connection has ended, and nothing runs any more."""
        woken, wakes = os.pipe()
        os.set_blocking(woken, False)
        os.set_blocking(wakes, False)
        signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
        for number in _HANDLED:
            signal.signal(number, _nothing)
        with suppress(namespaces.Refused):
            namespaces.reap_orphans()
        while True:
            ready, _, _ = select.select([self._control.fileno(), woken], [], [])
            if woken in ready:
                os.read(woken, 4096)
                self._reap()
            if self._control.fileno() in ready and not self._receive():
                break
        _end_children(self._child)

    # -- requests

    def _receive(self) -> bool:
        """Carry out what has come; returns whether there may be more."""
        try:
            data = self._control.recv(1 << 20)
        except ConnectionError:
            data = b""
        self._buffer += data
        *lines, self._buffer = self._buffer.split(b"\n")
        for line in lines:
            request = json.loads(line)
            if request["do"] == "signal":
                self._signal(request["number"])
            else:
                self._answer(request)
        return bool(data)

    def _answer(self, request: dict[str, Any]) -> None:
        descriptor = None
        answer: dict[str, Any] = {"ok": True}
        try:
            result = self._actions[request["do"]](request)
        except namespaces.Refused as error:
            answer = {"failed": error.step, "errno": error.errno}
        except OSError as error:
            answer = {"failed": error.strerror or str(error), "errno": error.errno or 0}
        else:
            if isinstance(result, list):
                answer["ports"] = result
            else:
                descriptor = result
        self._say(answer, descriptor)

    def _say(self, message: dict[str, Any], descriptor: int | None = None) -> None:
        line = json.dumps(message).encode() + b"\n"
        with suppress(ConnectionError):
            if descriptor is None:
                self._control.sendall(line)
            else:
                socket.send_fds(self._control, [line], [descriptor])
        if descriptor is not None:
            os.close(descriptor)

    def _isolate(self, request: dict[str, Any]) -> None:
        namespaces.enter(network=request["network"])
        if request["network"]:
            namespaces.loopback_up()

    def _mount(self, request: dict[str, Any]) -> None:
        mounting.mount(request["binds"], request["folder"])

    def _listen(self, request: dict[str, Any]) -> int:
        with socket.socket(_family(request["host"]), socket.SOCK_STREAM) as listening:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((request["host"], request["port"]))
            listening.listen(1024)
            return listening.detach()

    def _connect(self, request: dict[str, Any]) -> int:
        # within a loopback nothing takes long
        with socket.socket(_family(request["host"]), socket.SOCK_STREAM) as connection:
            connection.settimeout(GRACE)
            connection.connect((request["host"], request["port"]))
            return connection.detach()

    def _ports(self, request: dict[str, Any]) -> list[int]:
        return listeners.listening_ports(listeners.read_tables())

    # -- the command

    def _run(self, request: dict[str, Any]) -> None:
        """Start the command.

        :raises OSError: there is no such program, or it cannot be executed.
        """
        argv, environ = request["argv"], request["env"]
        program = shutil.which(argv[0], path=environ.get("PATH"))
        if program is None:
            raise FileNotFoundError(errno.ENOENT, "command not found")
        told, tells = os.pipe()
        child = os.fork()
        if child == 0:
            _become(program, argv, environ, request["output"], request["ignored"], tells)
        os.close(tells)
        with os.fdopen(told, "rb") as pipe:
            failed = pipe.read()
        if failed:
            os.waitpid(child, 0)
            raise OSError(int(failed), os.strerror(int(failed)))
        self._child = child

    def _signal(self, number: int) -> None:
        if self._child is not None:
            os.kill(self._child, number)

    def _reap(self) -> None:
        """Notice what has ended; with the command ends everything."""
        ended = _ended()
        if self._child in ended:
            status = ended[self._child]
            self._child = None
            _end_children(None)
            self._say({"ended": status})


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _nothing(_number: int, _frame: Any) -> None:
    """Only the wake-up matters."""


def _become(
    program: str, argv: Sequence[str], environ: Mapping[str, str], output: str | None, ignored: Sequence[int], tells: int
) -> NoReturn:
    """In the child: become the command, or tell why not."""
    try:
        signal.set_wakeup_fd(-1)
        for number in (*_HANDLED, signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_IGN if number in ignored else signal.SIG_DFL)
        with suppress(namespaces.Refused):
            # also when this process itself is killed
            namespaces.die_with_parent(signal.SIGKILL)
        if output is not None:
            written = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            os.dup2(written, 1)
            os.dup2(written, 2)
        os.execve(program, list(argv), dict(environ))
    except OSError as error:
        os.write(tells, str(error.errno or errno.EIO).encode())
    finally:
        os._exit(NOT_EXECUTABLE)


# -- what the command leaves


def _ended() -> dict[int, int]:
    """The processes that have ended, and their exit statuses as a shell reports them."""
    found = {}
    with suppress(ChildProcessError):
        while True:
            process, status = os.waitpid(-1, os.WNOHANG)
            if process == 0:
                break
            found[process] = 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
    return found


def _children() -> Iterator[int]:
    """The children of this process; none where the system has no /proc."""
    me = os.getpid()
    try:
        entries = os.listdir("/proc")
    except OSError:
        return
    for entry in filter(str.isdecimal, entries):
        with suppress(OSError):
            with open(f"/proc/{entry}/stat", "rb") as file:
                # the name, in parentheses, may contain anything
                state, parent = file.read().rpartition(b")")[2].split()[:2]
            if int(parent) == me and state != b"Z":
                yield int(entry)


def _end_children(known: int | None) -> None:
    """Ask all children to end, and then theirs, which become ours; kill them when they do not.

    :param known: one of them, if it is known.
    """
    asked: set[int] = set()
    beyond: set[int] = set()
    late = time.monotonic() + GRACE
    while time.monotonic() < late + GRACE:
        if known in _ended():
            known = None
        remaining = {*_children(), *(() if known is None else (known,))} - beyond
        if not remaining:
            return
        if time.monotonic() > late:
            beyond |= _send(remaining, signal.SIGKILL)
        else:
            beyond |= _send(remaining - asked, signal.SIGHUP, signal.SIGTERM, signal.SIGCONT)
            asked |= remaining
        time.sleep(0.01)


def _send(processes: Iterable[int], *numbers: int) -> set[int]:
    """Send signals; returns the processes that are not ours to end, such as those of sudo."""
    beyond = set()
    for process in processes:
        for number in numbers:
            try:
                os.kill(process, number)
            except ProcessLookupError:
                break
            except PermissionError:
                beyond.add(process)
                break
    return beyond


def main() -> None:
    """Serve the connection that this process has got."""
    with socket.socket(fileno=CONTROL) as control:
        control.set_inheritable(False)
        Supervisor(control).serve()
