"""What twistd and twist find: the ``rtunnel`` command and the ``rtunnel`` reactor."""

from __future__ import annotations

from twisted.application.reactors import Reactor
from twisted.application.service import ServiceMaker

rtunnel = ServiceMaker(
    "rtunnel",
    "rtunnel.tap",
    "Bring the requests for a service in a cluster to a laptop: a tunnel's server and client.",
    "rtunnel",
)

reactor = Reactor("rtunnel", "rtunnel.reactor", "epoll with an end-of-turn hook, for many small messages")
