"""The story: processes are started, join, leave and are killed, while a visitor sends requests all the time.

Requests are sent also while the story waits for a client to join or to leave. They are counted separately, because a phase begins
when everything that belongs to it is ready. Each phase has the same number of requests.
"""

from __future__ import annotations

from collections.abc import Callable
from shlex import join
from time import monotonic
from typing import Protocol

from rtunnel.demo.processes import Process, Processes, free_ports
from rtunnel.demo.shares import Act, Phase, Results, Side, Tally
from rtunnel.demo.visitor import Visitor, answers

__all__ = ["ALONE", "HALF", "HOST", "KILLED", "PERSONAL", "PHASES", "TAKEOVER", "TUNNEL", "Scenario", "Viewer"]

HOST = "nginx.local"
TUNNEL = "10bc451e-59dc-4c70-999e-91a30813ac78"
PATH = "/proxy"

ALONE = Phase("sidecar alone", 0)
HALF = Phase("laptop, weight 1", 50)
TAKEOVER = Phase("laptop, weight 255", 100)
KILLED = Phase("laptop killed", 0)
PERSONAL = Phase("X-User: alice", 50, personal=True)
PHASES = (ALONE, HALF, TAKEOVER, KILLED, PERSONAL)
USER = "alice"
"""Whose requests the laptop takes in the last phase."""
ASTRAY = "answered by the wrong side"
"""Why a request has failed that its header should have led elsewhere."""

START_TIME = 30.0
"""Seconds for a process to become ready, or to end after SIGTERM."""
PROBE_INTERVAL = 0.05
"""Seconds between two checks whether it did."""
REQUEST_INTERVAL = 0.005
"""Maximum seconds between two requests."""
PHASE_TIME = 1.2
"""Maximum seconds of a phase, if the answers are fast enough."""


class Viewer(Protocol):
    """Shows the scenario to the user."""

    def step(self, text: str, *commands: str) -> None:
        """A step begins.

        :param text: what is done.
        :param commands: the commands that do it.
        """

    def counted(self, results: Results) -> None:
        """A request was counted; called for each."""

    def played(self, act: Act) -> None:
        """A phase is over."""


class Scenario:
    """Plays the scenario once.

    :param processes: starts and owns what is started.
    :param viewer: shows what happens.
    :param requests: how many requests each phase sends.
    """

    def __init__(self, processes: Processes, viewer: Viewer, requests: int) -> None:
        self.results = Results([Act(phase) for phase in PHASES])
        self._processes = processes
        self._viewer = viewer
        self._requests = requests
        self._link_port, self._entrypoint_port = free_ports(2)
        self._visitor = Visitor(self._entrypoint_port, HOST)
        self._visiting = False

    def run(self) -> Results:
        """Play all of it, which takes about ten seconds.

        :raises ProcessError: when something does not start, or ends by itself.
        """
        try:
            self._open()
            alone, half, takeover, killed, personal = self.results.acts
            self._play(alone)
            service = self._start_service(Side.LAPTOP)
            laptop = self._join("the laptop's client", service, weight=1)
            self._play(half)
            self._leave(laptop)
            laptop = self._join("the laptop's client", service, weight=255)
            self._play(takeover)
            self._viewer.step("the laptop's client is killed (SIGKILL)")
            laptop.kill()
            self._play(killed)
            self._join("the laptop's client", service, 1, "--intercept", f"header:X-User={USER}", "--name", USER)
            self._play_personal(personal)
        finally:
            self._visitor.leave()
        return self.results

    # -- the steps

    def _open(self) -> None:
        """Start what runs in the cluster."""
        service = self._start_service(Side.POD)
        self._start_server()
        self._join("the sidecar's client", service, weight=1)
        self._visiting = True

    def _start_service(self, side: Side) -> int:
        """Start the service of one side and return its port."""
        (port,) = free_ports(1)
        arguments = ["--name", side.value, "--port", str(port)]
        self._viewer.step(f"the {side.value}'s service", join(["python", "-m", "rtunnel.demo.service", *arguments]))
        process = self._processes.start(f"the {side.value}'s service", "rtunnel.demo.service", arguments)
        self._until_ready(process, port, "/")
        return port

    def _start_server(self) -> None:
        links = ["--listen", f"127.0.0.1:{self._link_port}", "--path", PATH]
        visitors = ["--entrypoint", f"127.0.0.1:{self._entrypoint_port}", "--route", f"{HOST}={TUNNEL}"]
        self._start("the server", "server", *links, *visitors)

    def _join(self, name: str, target: int, weight: int, *more: str) -> Process:
        server = f"ws://127.0.0.1:{self._link_port}{PATH}"
        tunnel = ["--tunnel", TUNNEL, "--weight", str(weight), "--target", f"127.0.0.1:{target}"]
        return self._start(name, "client", "--server", server, *tunnel, *more)

    def _leave(self, client: Process) -> None:
        self._viewer.step(f"{client.name} stops (SIGTERM)")
        client.stop()
        if not self._until(lambda: client.ended):
            raise client.error(f"did not end within {START_TIME:.0f} s")

    def _play(self, act: Act) -> None:
        for _ in range(self._requests):
            self._send(act.tally, self._interval)
        self._over(act)

    def _play_personal(self, act: Act) -> None:
        """Every other request is the user's; each has to be answered by the side that it is for."""
        for number in range(self._requests):
            mine = number % 2 == 1
            self._visitor.pace(self._interval)
            answered = self._visitor.request(USER if mine else "")
            astray = answered is (Side.POD if mine else Side.LAPTOP)
            self._count(act.tally, ASTRAY if astray else answered)
        self._over(act)

    @property
    def _interval(self) -> float:
        return min(REQUEST_INTERVAL, PHASE_TIME / self._requests)

    def _over(self, act: Act) -> None:
        self._processes.check()
        act.done = True
        self._viewer.played(act)

    # -- how a step is done

    def _start(self, name: str, *arguments: str) -> Process:
        """Start a role of ours and wait until it is ready."""
        self._viewer.step(name, join(["rtunnel", *arguments]))
        (admin,) = free_ports(1)
        process = self._processes.start(name, "rtunnel", [*arguments, "--admin", f"127.0.0.1:{admin}"])
        self._until_ready(process, admin, "/readyz")
        return process

    def _until_ready(self, process: Process, port: int, path: str) -> None:
        if not self._until(lambda: answers(port, path)):
            raise process.error(f"was not ready within {START_TIME:.0f} s")

    def _until(self, condition: Callable[[], bool]) -> bool:
        """Wait for a condition, with requests meanwhile if the visitor is there; tell whether it came true in time.

        :raises ProcessError: when a process ends by itself meanwhile.
        """
        deadline = monotonic() + START_TIME
        while not condition():
            self._processes.check()
            probe = monotonic() + PROBE_INTERVAL
            if probe > deadline:
                return False
            while monotonic() < probe:
                self._wait()
        return True

    def _wait(self) -> None:
        if self._visiting:
            self._send(self.results.between, REQUEST_INTERVAL)
        else:
            self._visitor.pace(REQUEST_INTERVAL)

    def _send(self, tally: Tally, interval: float) -> None:
        self._visitor.pace(interval)
        self._count(tally, self._visitor.request())

    def _count(self, tally: Tally, outcome: Side | str) -> None:
        tally.count(outcome)
        self.results.connections = self._visitor.connections
        self._viewer.counted(self.results)
