"""Commands and processes of the cluster, and where it keeps things."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

__all__ = ["HOME", "NAMESPACE", "ROOT", "ClusterError", "inside", "run", "start", "stop_all", "wait_until"]

ROOT: Final = Path(__file__).parent.parent.parent
HOME: Final = ROOT / ".cluster"
"""What is kept: programs, images, and the state of a cluster that is up."""
NAMESPACE: Final = "rtunnel-cluster"
"""The network namespace of the node."""


class ClusterError(Exception):
    """The cluster cannot do something; the text says what, and why."""


def inside(*command: str) -> list[str]:
    """A command in the node's network namespace; ``ip netns exec`` would mount a /sys without the cgroups as well."""
    return ["nsenter", f"--net=/run/netns/{NAMESPACE}", *command]


def run(
    *command: str, text: str | None = None, env: Mapping[str, str] | None = None, check: bool = True, timeout: float = 600
) -> str:
    """Run a command to its end; returns what it prints.

    :raises ClusterError: it fails; with the end of what it printed.
    """
    environ = None if env is None else os.environ | dict(env)
    done = subprocess.run(
        command, input=text, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environ, check=False, timeout=timeout
    )
    if check and done.returncode:
        raise ClusterError(f"{' '.join(command[:6])} failed with status {done.returncode}:\n{done.stdout[-3000:]}")
    return done.stdout


def start(name: str, command: Sequence[str], env: Mapping[str, str] | None = None) -> None:
    """Start a process that runs until :func:`stop_all`; its log is ``.cluster/logs/NAME.log``."""
    # the folders for temporary files that the tests have are gone when these have ended
    logs, pids, temporary = HOME / "logs", HOME / "pids", HOME / "tmp"
    for folder in (logs, pids, temporary):
        folder.mkdir(parents=True, exist_ok=True)
    with open(logs / f"{name}.log", "wb") as log:
        process = subprocess.Popen(
            inside(*command),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env=os.environ | {"TMPDIR": str(temporary), "XDG_RUNTIME_DIR": str(temporary)} | dict(env or {}),
        )
    (pids / name).write_text(f"{process.pid} {_started(process.pid)}", encoding="utf-8")


def stop_all() -> None:
    """End the processes that were started, the last one first."""
    pids = sorted((HOME / "pids").glob("*"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in pids:
        number, _, started = path.read_text(encoding="utf-8").partition(" ")
        pid = int(number)
        # a number is used again; the time of its start says whether it is the same process
        if _started(pid) == started:
            os.kill(pid, signal.SIGTERM)
            for _ in range(100):
                if _started(pid) != started:
                    break
                time.sleep(0.1)
            else:
                os.kill(pid, signal.SIGKILL)
        path.unlink()


def _started(pid: int) -> str:
    """When a process started, in ticks of the kernel; empty if there is none, or it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(") ")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]


def wait_until(condition: Callable[[], object], what: str, patience: float = 120) -> None:
    """Wait until something is true.

    :raises ClusterError: it does not become true in time.
    """
    deadline = time.monotonic() + patience
    while not condition():
        if time.monotonic() > deadline:
            raise ClusterError(f"waited {patience:.0f} s in vain until {what}; the logs are in {HOME / 'logs'}")
        time.sleep(0.25)
