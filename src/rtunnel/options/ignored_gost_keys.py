"""Keys of gost that do not exist here: they are ignored, with a warning.

Read in go-gost/x: ``config/cmd/cmd.go`` (generic keys), ``handler/tunnel/metadata.go``, ``handler/forward/remote/metadata.go``,
``listener/rudp/metadata.go``, ``listener/udp/metadata.go``, ``connector/tunnel/metadata.go``, ``listener/ws/metadata.go``,
``dialer/ws/metadata.go``.
"""

from __future__ import annotations

__all__ = ["ACCESS", "OF_CLIENT", "OF_SERVER", "OF_TARGET", "OF_VISITOR"]

ACCESS = frozenset(("auth", "auther", "authers", "admission", "bypass"))
"""Keys that restrict access: they are refused, because ignoring them would let in more clients than was meant."""

_SOCKETS = (
    "keepalive keepalive.idle keepalive.interval keepalive.count "
    "tcp.keepalive tcp.keepalive.idle tcp.keepalive.interval tcp.keepalive.count mptcp nodelay"
)
_NETWORK = "dns interface so_mark proxyProtocol netns netns.out resolver prefer hosts"
_SELECTOR = "strategy maxFails max_fails failTimeout fail_timeout"
_LIMITERS = "limiter.in limiter.out limiter.conn.in limiter.conn.out climiter rlimiter"
_WEBSOCKET = "header readBufferSize writeBufferSize enableCompression"
_SNIFFING = "sniffing sniffing.timeout sniffing.websocket sniffing.websocket.sampleRate"
_SERVICE = f"{_NETWORK} {_SELECTOR} {_LIMITERS} {_SOCKETS} retries"

OF_SERVER = frozenset(
    f"""{_SERVICE} {_WEBSOCKET} {_SNIFFING} backlog
    entrypoint.compression ingress sd tunnel.ttl
    mux.maxStreamWindow limiter.refreshInterval limiter.cleanupInterval
    observePeriod observer.period observer.observePeriod observer.resetTraffic""".split()
)
"""For ``-L`` of a server."""

_TLS = "certFile cert keyFile key caFile ca tls.certFile tls.keyFile tls.caFile"

_DATAGRAMS = "readBufferSize readQueueSize backlog"

OF_TARGET = frozenset(
    f"""{_TLS} {_NETWORK} {_LIMITERS} {_SOCKETS} retries {_SNIFFING} readTimeout idleTimeout http.keepalive
    mitm.certFile mitm.caCertFile mitm.keyFile mitm.caKeyFile mitm.alpn mitm.bypass {_DATAGRAMS}""".split()
) - {"proxyProtocol", "sniffing.timeout"}
"""For ``-L`` of a client, ``rtcp://`` or ``rudp://``."""

OF_VISITOR = frozenset(f"{_TLS} {_SERVICE} {_SNIFFING} readTimeout idleTimeout http.keepalive {_DATAGRAMS}".split())
"""For ``-L`` of a visitor, ``tcp://`` or ``udp://``."""

OF_CLIENT = frozenset(f"{_NETWORK} {_SELECTOR} {_SOCKETS} {_WEBSOCKET} ttl record.mode mux.maxStreamWindow".split())
"""For ``-F``."""
