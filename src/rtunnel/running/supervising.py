"""The supervisor of a command, as rtunnel uses it: a child process, and the connection to it."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.main import CONNECTION_LOST
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

import rtunnel
from rtunnel.isolation.supervisor import CONTROL

__all__ = ["Supervising", "SupervisorError"]

_SCRIPT = "import sys; sys.path.append(sys.argv[1]); from rtunnel.isolation.supervisor import main; main()"
_GONE = "the process that supervises the command has ended"
READ_SIZE = 65536
DESCRIPTORS = 16
"""Descriptors of one read at most; each answer has one."""


class SupervisorError(Exception):
    """A request was not carried out.

    :ivar step: what failed.
    :ivar errno: why; 0 if the supervisor is gone.
    """

    def __init__(self, step: str, number: int = 0) -> None:
        super().__init__(f"{step}: {os.strerror(number)}" if number else step)
        self.step = step
        self.errno = number


class Supervising:
    """A supervisor (:mod:`rtunnel.isolation.supervisor`), which lives until it is closed, or until this process ends.

    Its connection is written at once, and read when the reactor says so.

    :param reactor: of file descriptors.
    :ivar gone: fires when it has ended.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._waiting: deque[tuple[str, Deferred[Any]]] = deque()
        self._command: Deferred[int] | None = None
        self._buffer = b""
        self._descriptors: deque[int] = deque()
        self._control: socket.socket | None = None
        self.gone: Deferred[None] = Deferred()

    @property
    def running(self) -> bool:
        """Whether a command runs."""
        return self._command is not None

    def start(self) -> None:
        """Start the process."""
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        root = str(Path(rtunnel.__file__).parent.parent)
        # -I: nothing in the environment or the working directory decides what is imported
        argv = [sys.executable, "-I", "-c", _SCRIPT, root]
        environ = {name: value for name, value in os.environ.items() if name in ("PATH", "LD_LIBRARY_PATH")}
        with its:
            files = {0: 0, 1: 1, 2: 2, CONTROL: its.fileno()}
            self._reactor.spawnProcess(_Ending(self), sys.executable, argv, env=environ, childFDs=files)
        self._control = ours
        self._reactor.addReader(self)

    # -- requests

    def isolate(self, *, network: bool) -> Deferred[Any]:
        """Enter namespaces; fails with :class:`SupervisorError`, after which this supervisor is of no use."""
        return self._request("isolate", network=network)

    def mount(self, binds: Sequence[tuple[str, str]], folder: Path) -> Deferred[Any]:
        """Have files and folders at other paths; fails with :class:`SupervisorError`.

        :param binds: source and target of each.
        :param folder: an empty one for what has to be rebuilt.
        """
        return self._request("mount", binds=binds, folder=str(folder))

    def listen(self, host: str, port: int) -> Deferred[Any]:
        """A listening socket in the network namespace: fires with its descriptor, fails with :class:`SupervisorError`."""
        return self._request("listen", host=host, port=port)

    def connect(self, host: str, port: int) -> Deferred[Any]:
        """A connection within the network namespace: fires with its descriptor, fails with :class:`SupervisorError`."""
        return self._request("connect", host=host, port=port)

    def ports(self) -> Deferred[Any]:
        """Fires with the ports at which something listens in the network namespace; fails with :class:`SupervisorError`."""
        return self._request("ports")

    def run(self, argv: Sequence[str], environ: Mapping[str, str], output: str | None = None) -> Deferred[int]:
        """Run a command.

        :param output: the file to which it writes, at its end, in place of our output and error output.
        :returns: fires with its exit status when it has ended, and all that it left; 128 and the number of the signal that killed
            it. Fails with :class:`SupervisorError` if it cannot be started.
        """
        command = self._command = Deferred()
        # of nohup, which is meant for the command
        ignored = [int(signal.SIGHUP)] if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else []
        started = self._request("run", argv=list(argv), env=dict(environ), output=output, ignored=ignored)
        started.addErrback(self._not_started)
        return command

    def _not_started(self, failure: Failure) -> None:
        error: Any = failure.value
        if error.step == _GONE and not self.gone.called:
            # it may have been started, and its end is about to be told
            return
        command, self._command = self._command, None
        if command is not None:
            command.errback(failure)

    def signal(self, number: int) -> None:
        """Send a signal to the command, if one runs."""
        self._send({"do": "signal", "number": int(number)})

    def close(self) -> Deferred[None]:
        """End it, and everything that it has started; fires when that is done."""
        if self._control is not None:
            self._control.shutdown(socket.SHUT_WR)
        return self.gone

    def _request(self, name: str, **arguments: Any) -> Deferred[Any]:
        answer: Deferred[Any] = Deferred()
        if self._control is None:
            answer.errback(Failure(SupervisorError(_GONE)))
            return answer
        self._waiting.append((name, answer))
        self._send({"do": name, **arguments})
        return answer

    def _send(self, message: dict[str, Any]) -> None:
        if self._control is not None:
            try:
                self._control.sendall(json.dumps(message).encode() + b"\n")
            except OSError:
                # the end is about to be read as well
                return

    # -- IReadDescriptor

    def fileno(self) -> int:
        """The descriptor of the connection."""
        return -1 if self._control is None else self._control.fileno()

    def logPrefix(self) -> str:
        """For the reactor's errors."""
        return "supervisor"

    def doRead(self) -> Any:
        """Take what has come."""
        assert self._control is not None
        try:
            data, descriptors, _, _ = socket.recv_fds(self._control, READ_SIZE, DESCRIPTORS, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return None
        except OSError:
            return CONNECTION_LOST
        if not data:
            return CONNECTION_LOST
        self._descriptors.extend(descriptors)
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            self._take(json.loads(line))
        return None

    def _take(self, message: dict[str, Any]) -> None:
        if "ended" in message:
            command, self._command = self._command, None
            if command is not None:
                command.callback(message["ended"])
            return
        name, answer = self._waiting.popleft()
        if "failed" in message:
            answer.errback(Failure(SupervisorError(message["failed"], message["errno"])))
        else:
            answer.callback(self._descriptors.popleft() if name in ("listen", "connect") else message.get("ports"))

    def connectionLost(self, reason: Failure) -> None:
        """The supervisor has ended, or is about to."""
        control, self._control = self._control, None
        if control is not None:
            self._reactor.removeReader(self)
            control.close()
        while self._descriptors:
            os.close(self._descriptors.popleft())
        while self._waiting:
            self._waiting.popleft()[1].errback(Failure(SupervisorError(_GONE)))

    def ended(self, status: int) -> None:
        """The process has ended."""
        command, self._command = self._command, None
        if command is not None:
            # killed, and the command with it
            command.callback(status)
        self.gone.callback(None)


class _Ending(ProcessProtocol):
    """Waits for the end of the process."""

    def __init__(self, owner: Supervising) -> None:
        self._owner = owner

    def processEnded(self, reason: Failure) -> None:
        """Tell it."""
        ending: Any = reason.value
        self._owner.ended(ending.exitCode if ending.signal is None else 128 + ending.signal)
