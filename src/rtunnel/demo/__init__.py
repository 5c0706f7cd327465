"""``rtunnel demo``: the whole scenario on loopback, with real processes and real requests.

A pod service, the server and the pod's sidecar client are started; then a laptop joins the tunnel with weight 1, is replaced by
one with weight 255, and is killed. A visitor never stops sending requests, and the screen shows who answers them.

- :mod:`rtunnel.demo.scenario`: the story, step by step
- :mod:`rtunnel.demo.shares`: what was counted, and what is expected
- :mod:`rtunnel.demo.visitor`: who sends the requests
- :mod:`rtunnel.demo.processes`: what is started, and that all of it ends
- :mod:`rtunnel.demo.screen`: what is seen
- :mod:`rtunnel.demo.command`: the command line
- :mod:`rtunnel.demo.service`: the small web service that stands for the pod's and the laptop's, also useful by itself
"""

from __future__ import annotations

__all__ = ["main"]


def main(argv: list[str]) -> int:
    """Run the scenario once.

    :param argv: the arguments after ``demo``.
    :return: the exit status: 0 when every share was as expected and no request failed, else 1.
    :raises SystemExit: for ``--help`` (0) and for arguments that are wrong (1).
    """
    # late, because the service's process passes through this module and needs none of it
    from rtunnel.demo.command import run

    return run(argv)
