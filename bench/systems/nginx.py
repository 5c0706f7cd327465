"""The two baselines: no tunnel at all, and one hop of nginx's ``proxy_pass``."""

from __future__ import annotations

from bench import nginx
from bench.stage import SERVER, Stage
from bench.systems.base import ACCESS_LOG, Ability, Setup, System, first_line


class Direct(System):
    """The visitor asks the service itself."""

    can = frozenset({Ability.DATAGRAMS})

    def version(self) -> str:
        return _version()

    def start(self, setup: Setup, stage: Stage) -> int:
        return setup.targets[0]


class Hop(System):
    """One nginx with kept connections to the service: what a hop costs that is made for nothing else."""

    routes = "HTTP"
    can = frozenset({Ability.PAIR, Ability.ACCESS_LOG})

    def version(self) -> str:
        return _version()

    def start(self, setup: Setup, stage: Stage) -> int:
        port = stage.port()
        config = nginx.hop_config(port, setup.targets, ACCESS_LOG, setup.access_log)
        stage.start(SERVER, nginx.command(stage.write("hop.conf", config)))
        stage.wait_listening(port)
        stage.wait_answer(port)
        return port


def _version() -> str:
    return first_line([nginx.binary(), "-v"]).removeprefix("nginx version: ")
