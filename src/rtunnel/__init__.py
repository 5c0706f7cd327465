"""Reverse tunnels for Kubernetes developers: a server and a client for twistd that speak gost's wire.

A client joins a tunnel of the server, and the server's public entrypoint sends each request, by its host, to one of the
clients that serve the tunnel, by their weights. Each room of the package says in its own docstring what it knows:

- :mod:`rtunnel.wire`: bytes and their meaning, without any I/O
- :mod:`rtunnel.routing`: who gets a request; pure decisions
- :mod:`rtunnel.transport`: how the two ends meet
- :mod:`rtunnel.tunnel`: what runs over a link, shared by both ends
- :mod:`rtunnel.server` and :mod:`rtunnel.client`: the two roles, which never import each other
- :mod:`rtunnel.metrics`: counters, and their exposition to Prometheus
- :mod:`rtunnel.ops`: the process, logs, status, the admin endpoint, systemd
"""

from __future__ import annotations

__version__ = "0.1.0"
