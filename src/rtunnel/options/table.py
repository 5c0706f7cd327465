"""Every option of server, client and visitor, once: its name, kind, setting, help and its keys in gost's URLs.

The command line, the environment, the configuration file, the URLs, ``--help`` and docs/options.md all follow these rows; defaults
and bounds are in :mod:`rtunnel.settings`.
"""

from __future__ import annotations

from typing import Any

import attrs

from rtunnel.options import kinds
from rtunnel.options.kinds import Kind
from rtunnel.options.policies import POLICY
from rtunnel.options.proxies import PROXY, PROXY_FILE
from rtunnel.options.registries import PASSWORD, PASSWORD_FILE, REGISTRY
from rtunnel.options.targets import HEADER, HEADER_NAME, ROUND, TARGETS
from rtunnel.settings import (
    AccessLogSettings,
    ClientSettings,
    ClientTls,
    ConnectorSettings,
    ForwardSettings,
    HealthSettings,
    HttpSettings,
    LeaseSettings,
    LimitSettings,
    ListenerSettings,
    MuxSettings,
    PeerSettings,
    PodEnvSettings,
    RegistrySettings,
    ServerSettings,
    ServerTls,
    UdpSettings,
    VisitorSettings,
)

__all__ = ["CLIENT", "CLIENT_TLS", "FORWARD", "PROXIES", "SERVER", "UDP", "VISITOR", "Key", "Option", "default", "find", "name_of"]


@attrs.frozen
class Key:
    """A key in the query of a gost URL.

    :ivar names: its spellings, the usual one first; case does not matter.
    :ivar kind: how its value is parsed; ``None`` for the option's own kind.
    """

    names: tuple[str, ...]
    kind: Kind | None = None


@attrs.frozen
class Option:
    """One option.

    :ivar name: its long name without dashes; one letter for gost's ``-L`` and ``-F``.
    :ivar kind: how its value is parsed.
    :ivar field: the path of its setting, e.g. ``http.head_timeout``; ``""`` for gost's URLs.
    :ivar help: one sentence.
    :ivar keys: URL keys for the same setting; if two are given, the later row wins.
    :ivar many: whether it is repeatable.
    :ivar process: whether it is a setting of the whole process rather than of a listener or connector.
    :ivar secret: whether it is refused on the command line, which is visible to every user of the machine.
    :ivar short: a second name of one letter, ``""`` for none.
    :ivar one_key: of a repeatable one: whether a configuration file has the same key for one value and for a list.
    """

    name: str
    kind: Kind
    field: str
    help: str
    keys: tuple[Key, ...] = ()
    many: bool = False
    process: bool = False
    secret: bool = False
    short: str = ""
    one_key: bool = False

    @property
    def flag(self) -> str:
        """Its name on the command line."""
        return f"-{self.name}" if len(self.name) == 1 else f"--{self.name}"

    @property
    def variable(self) -> str:
        """Its name in the environment."""
        return "RTUNNEL_" + self.name.upper().replace("-", "_")

    @property
    def group(self) -> str:
        """The group of its setting: ``http`` for ``http.head_timeout``, ``""`` for one that is in none."""
        return self.field.rpartition(".")[0]


def _key(*names: str, kind: Kind | None = None) -> Key:
    return Key(names, kind)


_FILE = Option(
    "config",
    kinds.FILE,
    "config",
    "configuration file, for everything that options can say and more (docs/configuration.md); options override it",
    process=True,
    short="c",
)

_LINK = (
    Option(
        "handshake-timeout",
        kinds.DURATION,
        "handshake_timeout",
        "time limit for the WebSocket upgrade and the tunnel handshake",
        (_key("readTimeout"), _key("readHeaderTimeout"), _key("handshakeTimeout")),
    ),
    Option(
        "keepalive-interval",
        kinds.DURATION,
        "mux.keepalive_interval",
        "interval between keepalives; 0 disables them",
        (_key("mux.keepaliveInterval"), _key("mux.keepaliveDisabled", kind=kinds.OFF)),
    ),
    Option(
        "keepalive-timeout",
        kinds.DURATION,
        "mux.keepalive_timeout",
        "close a link after this long without traffic",
        (_key("mux.keepaliveTimeout"),),
    ),
    Option(
        "stream-window",
        kinds.SIZE,
        "mux.stream_window",
        "receive window per stream (smux 2 only)",
        (_key("mux.maxStreamBuffer"),),
    ),
    Option(
        "receive-buffer",
        kinds.SIZE,
        "mux.receive_buffer",
        "receive buffer per link (smux 1 only)",
        (_key("mux.maxReceiveBuffer"),),
    ),
    Option(
        "link-buffer",
        kinds.SIZE,
        "mux.link_buffer",
        "with more than this waiting for the other end of a link, new requests go to others, and if it takes nothing the link is "
        "dropped",
        (_key("linkBuffer"),),
    ),
    Option(
        "link-stall-timeout",
        kinds.DURATION,
        "mux.stall_timeout",
        "drop a link whose other end takes nothing of what was sent for this long; 0 for no limit",
        (_key("linkStallTimeout"),),
    ),
    Option(
        "hold-timeout",
        kinds.DURATION,
        "mux.hold_timeout",
        "abort a stream that nobody reads when it has held back all others of its link for this long (smux 1 only); 0 for no limit",
        (_key("holdTimeout"),),
    ),
    Option(
        "max-futile-frames",
        kinds.NUMBER,
        "mux.futile_frames",
        "drop a link whose other end sends more than this many frames a second that change nothing: NOPs, window updates, streams "
        "over the limit",
    ),
    Option(
        "max-control-frames",
        kinds.NUMBER,
        "mux.control_frames",
        "cut a WebSocket whose other end sends more than this many pings, other control frames and empty messages a second",
    ),
    Option("frame-size", kinds.SIZE, "mux.frame_size", "maximum size of the frames to send", (_key("mux.maxFrameSize"),)),
    Option(
        "mux-version",
        kinds.NUMBER,
        "mux.version",
        "smux version, 1 or 2; must be the same at both ends",
        (_key("mux.version"), _key("mux.type", kind=kinds.SMUX)),
    ),
)


def _head_limits(group: str, answer: str) -> tuple[Option, ...]:
    """The limits of heads, for those that parse HTTP.

    :param group: of their settings.
    :param answer: to requests beyond them.
    """
    return (
        Option("max-head", kinds.SIZE, f"{group}.head_bytes", f"maximum size of a request head, else {answer}", (_key("maxHead"),)),
        Option(
            "max-line", kinds.SIZE, f"{group}.line_bytes", f"maximum length of a line in a head, else {answer}", (_key("maxLine"),)
        ),
        Option(
            "max-headers",
            kinds.NUMBER,
            f"{group}.header_count",
            f"maximum number of header fields in a head, else {answer}",
            (_key("maxHeaders"),),
        ),
    )


_CERT_KEY = _key("certFile", "cert", "tls.certFile")
_KEY_KEY = _key("keyFile", "key", "tls.keyFile")
_CA_KEY = _key("caFile", "ca", "tls.caFile")

_SERVER_TLS = (
    Option(
        "cert-file",
        kinds.FILE,
        "tls.cert_file",
        "certificate with its chain for wss:// and tls://, in PEM; reloaded when the file changes",
        (_CERT_KEY,),
    ),
    Option(
        "key-file",
        kinds.FILE,
        "tls.key_file",
        "private key of the certificate, in PEM; not needed if --cert-file holds it as well",
        (_KEY_KEY,),
    ),
    Option(
        "ca-file",
        kinds.FILE,
        "tls.ca_file",
        "accept only clients with a certificate from this CA, in PEM",
        (_CA_KEY,),
    ),
    Option(
        "self-signed",
        kinds.SWITCH,
        "tls.self_signed",
        "for tests: generate a certificate at each start, which clients cannot verify",
        (_key("selfSigned"),),
    ),
)

CLIENT_TLS = (
    Option(
        "tls-server-name",
        kinds.HOST,
        "tls.server_name",
        "name in the server's certificate, if it is not the host of --server",
        (_key("serverName", "tls.serverName"),),
    ),
    Option(
        "ca-file",
        kinds.FILE,
        "tls.ca_file",
        "CA of the server, in PEM, instead of the CAs of the system",
        (_CA_KEY,),
    ),
    Option(
        "no-verify",
        kinds.NOT,
        "tls.verify",
        "do not verify the server's certificate: the connection can be intercepted and modified",
        (_key("secure", "tls.secure", kind=kinds.SWITCH),),
    ),
    Option(
        "cert-file",
        kinds.FILE,
        "tls.cert_file",
        "certificate for a server that requires one, in PEM; reloaded when the file changes",
        (_CERT_KEY,),
    ),
    Option(
        "key-file",
        kinds.FILE,
        "tls.key_file",
        "private key of the certificate, in PEM; not needed if --cert-file holds it as well",
        (_KEY_KEY,),
    ),
)

PROXIES = (
    Option(
        "proxy",
        PROXY,
        "proxies",
        "connect to the server through this proxy: http://, https:// or socks5://, with USER:PASSWORD@ if it requires it; "
        "repeatable for a chain, the nearest first; direct overrides HTTPS_PROXY and the like",
        many=True,
    ),
    Option(
        "proxy-file",
        PROXY_FILE,
        "proxies",
        "file with the URL of a proxy, which may hold a password; repeatable",
        many=True,
    ),
)
"""Proxies between a client and its server."""

_WATCH = (
    Option(
        "watch",
        kinds.SWITCH,
        "watch",
        "show a line for each request also where the log goes to no terminal; on a terminal it is shown anyway",
        process=True,
    ),
    Option(
        "unwatched",
        kinds.SWITCH,
        "unwatched",
        "show no line for each request on a terminal, either; --quiet shows none as well",
        process=True,
    ),
)

_PROCESS = (
    Option(
        "admin",
        kinds.ADDRESS,
        "admin",
        "address for /livez, /readyz, /metrics and /status, e.g. 127.0.0.1:8480",
        process=True,
    ),
    Option(
        "no-admin-socket",
        kinds.NOT,
        "admin_socket",
        "do not open the unix socket at which rtunnel status asks this process",
        process=True,
    ),
    Option(
        "drain",
        kinds.DURATION,
        "drain",
        "time for running requests to finish when the process stops",
        process=True,
    ),
    Option(
        "verbose",
        kinds.VERBOSE,
        "log_level",
        "log more, such as each attempt to join",
        process=True,
        short="v",
    ),
    Option(
        "quiet",
        kinds.QUIET,
        "log_level",
        "log warnings and errors only",
        process=True,
        short="q",
    ),
)

FORWARD = (
    Option(
        "max-fails",
        kinds.NUMBER,
        "forward.max_fails",
        "failed connection attempts in a row before a target of a list is skipped",
        (_key("maxFails", "max_fails"), _key("strategy", kind=ROUND)),
    ),
    Option(
        "fail-timeout",
        kinds.DURATION,
        "forward.fail_timeout",
        "how long a failed target is skipped; 0 disables",
        (_key("failTimeout", "fail_timeout"),),
    ),
    Option(
        "proxy-protocol",
        kinds.NUMBER,
        "forward.proxy_protocol",
        "send the target a PROXY header with the visitor's address, version 1 or 2; 0 disables",
        (_key("proxyProtocol"),),
    ),
    Option(
        "sniff-timeout",
        kinds.DURATION,
        "forward.sniff_timeout",
        "time limit for a visitor's first bytes, where a target's filter depends on the protocol",
        (_key("sniffing.timeout"),),
    ),
    *_head_limits("forward", "431, where the client parses HTTP"),
    Option(
        "as-local",
        kinds.SWITCH,
        "forward.as_local",
        "make requests look to the target as if a browser on this machine had sent them, for development servers that refuse other "
        "hosts and origins; responses are translated back",
    ),
    Option(
        "set-host",
        kinds.HOST,
        "forward.set_host",
        "set the Host header of requests to the target",
    ),
    Option(
        "set-header",
        HEADER,
        "forward.set_headers",
        "set a header field of requests to the target; repeatable",
        many=True,
    ),
    Option(
        "remove-header",
        HEADER_NAME,
        "forward.remove_headers",
        "remove a header field from requests to the target; repeatable",
        many=True,
    ),
)
"""How a client forwards to its targets; the keys are those of its ``-L``."""

UDP = (
    Option(
        "udp-idle",
        kinds.DURATION,
        "udp.idle",
        "end a UDP association after this long without datagrams",
        (_key("ttl"),),
    ),
    Option(
        "udp-associations",
        kinds.NUMBER,
        "udp.associations",
        "maximum number of UDP associations of a local port; a new one replaces the one that was idle longest",
        (_key("udpAssociations"),),
    ),
)
"""Limits of UDP; the keys are those of ``-L`` with ``rudp`` and ``udp``."""

_ACCESS_LOG = (
    Option(
        "access-log",
        kinds.FILE,
        "access_log.file",
        'log each request and connection to this file, "-" for stdout',
        process=True,
    ),
    Option(
        "access-log-format",
        kinds.LOG_FORMAT,
        "access_log.format",
        "format of the access log",
        process=True,
    ),
    Option(
        "access-log-query",
        kinds.SWITCH,
        "access_log.query",
        "include the query of requests, which may hold secrets",
        process=True,
    ),
)

_REGISTRY = (
    Option(
        "registry",
        REGISTRY,
        "registry.address",
        "Redis through which several servers share their tunnels: redis://HOST, rediss:// with TLS, unix:///PATH, "
        "redis+sentinel://HOST,.../NAME; with /DB for another database, and USER@",
        process=True,
    ),
    Option(
        "registry-prefix",
        kinds.TEXT,
        "registry.prefix",
        "beginning of the names of all its keys, if several installations use one Redis",
        process=True,
    ),
    Option("registry-password-file", PASSWORD_FILE, "registry.password", "file with its password", process=True),
    Option("registry-password", PASSWORD, "registry.password", "its password", process=True, secret=True),
    Option(
        "registry-ca-file",
        kinds.FILE,
        "registry.ca_file",
        "CA of a Redis with TLS, in PEM, instead of the CAs of the system",
        process=True,
    ),
)
"""The shared registry."""

_PEERS = (
    Option(
        "peer-listen",
        kinds.ADDRESS,
        "peer.listen",
        "address where the other servers of a shared registry reach the clients of this one, e.g. :8424",
        process=True,
    ),
    Option(
        "peer-address",
        kinds.ADDRESS,
        "peer.address",
        "address that the others are told, HOST:PORT; by default that of --peer-listen",
        process=True,
    ),
    Option(
        "peer-secret-file",
        kinds.FILE,
        "peer.secret_file",
        "file with the secret by which the servers know each other; the same at all of them",
        process=True,
    ),
    Option(
        "peer-cert-file",
        kinds.FILE,
        "peer.cert_file",
        "certificate of this server for the links between servers, which are TLS then; with --peer-ca-file",
        process=True,
    ),
    Option("peer-key-file", kinds.FILE, "peer.key_file", "key of that certificate, if it is in a file of its own", process=True),
    Option(
        "peer-ca-file",
        kinds.FILE,
        "peer.ca_file",
        "CA of the servers: a certificate of it proves that a server is one of them",
        process=True,
    ),
)
"""How the servers of a shared registry reach each other."""

_LIMITS = (
    Option(
        "max-connections",
        kinds.NUMBER,
        "limits.connections",
        "maximum number of connections of visitors; by default what the limit of descriptors allows",
        process=True,
    ),
    Option(
        "max-connections-per-address",
        kinds.NUMBER,
        "limits.connections_per_address",
        "the same of one address (IPv6: a /64), trusted proxies excepted; by default half of them",
        process=True,
    ),
    Option(
        "max-tunnel-connections",
        kinds.NUMBER,
        "limits.tunnel_connections",
        "maximum number of connections to the addresses of --listen; by default a quarter of the descriptors",
        process=True,
    ),
    Option(
        "max-handshakes",
        kinds.NUMBER,
        "limits.handshakes",
        "maximum number of unfinished handshakes with clients; by default half of --max-tunnel-connections, at most 2048",
        process=True,
    ),
    Option(
        "max-handshakes-per-address",
        kinds.NUMBER,
        "limits.handshakes_per_address",
        "the same of one address, trusted proxies excepted; by default half of them",
        process=True,
    ),
    Option(
        "max-links-per-address",
        kinds.NUMBER,
        "limits.links_per_address",
        "maximum number of links and visits of one address; by default half of --max-tunnel-connections",
        process=True,
    ),
    Option(
        "max-links-per-tunnel",
        kinds.NUMBER,
        "limits.links_per_tunnel",
        "maximum number of links of one tunnel; by default half of --max-tunnel-connections",
        process=True,
    ),
    Option(
        "max-streams-per-link",
        kinds.NUMBER,
        "limits.streams_per_link",
        "maximum number of open streams of one link; then another client is tried",
        process=True,
    ),
    Option(
        "max-streams-per-tunnel",
        kinds.NUMBER,
        "limits.streams_per_tunnel",
        "maximum number of open streams of all links of a tunnel; more requests are refused with 503",
        process=True,
    ),
    Option(
        "max-buffered",
        kinds.SIZE,
        "limits.buffered",
        "refuse new requests with 503 while more than this is buffered for visitors and clients; if it is not given, a quarter of "
        "the memory or of the cgroup's limit; 0 for no limit",
        process=True,
    ),
)

SERVER = (
    _FILE,
    Option("listen", kinds.LISTEN, "listen", "address that clients connect to, e.g. :8421 or wss://:8443/proxy"),
    Option(
        "path",
        kinds.PATH,
        "path",
        "path of the WebSocket that clients connect to",
        (_key("path", "ws.path"),),
    ),
    *_SERVER_TLS,
    Option(
        "entrypoint",
        kinds.ADDRESS,
        "entrypoints",
        "address that visitors connect to; repeatable",
        (_key("entrypoint"),),
        many=True,
    ),
    Option(
        "route",
        kinds.ROUTE,
        "rules",
        "host that belongs to a tunnel; HOST may be *.example.org, $UUID makes the tunnel private; repeatable",
        (_key("tunnel"),),
        many=True,
    ),
    Option(
        "routes-file",
        kinds.WATCHED_FILE,
        "routes_file",
        "file with more routes, one HOST=UUID per line; reloaded when it changes",
        (_key("routesFile"),),
    ),
    Option(
        "proxy-protocol",
        kinds.CIDR,
        "proxy_protocol",
        "expect a PROXY header on connections from these networks; repeatable",
        (_key("entrypoint.ProxyProtocol", kind=kinds.PROXY_PROTOCOL),),
        many=True,
    ),
    Option(
        "users",
        kinds.FILE,
        "users",
        'users file, with the NAME:HASH lines that "rtunnel user NAME" prints; only these users may connect',
        (_key("users"),),
    ),
    Option(
        "permissions",
        kinds.FILE,
        "permissions",
        "permissions file: which user may bind and visit which tunnel; without it, every user may bind and visit every tunnel",
        (_key("permissions"),),
    ),
    Option(
        "auth-file",
        kinds.AUTH_FILE,
        "credentials",
        "file with user:password, for a single user",
    ),
    Option(
        "auth",
        kinds.AUTH,
        "credentials",
        "user:password that clients must present, for a single user",
        (_key("auth", kind=kinds.AUTH_BASE64),),
        secret=True,
    ),
    Option(
        "entrypoint-id",
        kinds.UUID,
        "entrypoint_id",
        "ID with which entrypoints of other servers may visit every public tunnel",
        (_key("entrypoint.id"),),
    ),
    Option(
        "direct",
        kinds.SWITCH,
        "direct",
        "allow clients that know the ID of a tunnel to join and visit it, without a rule",
        (_key("tunnel.direct"),),
    ),
    Option(
        "trusted-proxy",
        kinds.CIDR,
        "http.trusted_proxies",
        "trust X-Forwarded-*, Forwarded and X-Request-Id from these networks; repeatable",
        (_key("trustedProxy"),),
        many=True,
    ),
    Option(
        "keep-forwarded-for",
        kinds.SWITCH,
        "http.keep_forwarded_for",
        "pass on X-Forwarded-For and Forwarded of trusted proxies as they came, without the address of the proxy itself, for "
        "targets that count the proxies",
        (_key("keepForwardedFor"),),
    ),
    Option(
        "forwarded",
        kinds.SWITCH,
        "http.write_forwarded",
        "add Forwarded (RFC 7239) to requests, beside X-Forwarded-*",
        (_key("forwarded"),),
    ),
    Option(
        "head-timeout",
        kinds.DURATION,
        "http.head_timeout",
        "time limit for a request head to arrive, then 408",
        (_key("headTimeout"),),
    ),
    Option(
        "idle-timeout",
        kinds.DURATION,
        "http.idle_timeout",
        "how long a keep-alive connection may wait for its next request",
        (_key("idleTimeout"),),
    ),
    Option(
        "response-timeout",
        kinds.DURATION,
        "http.response_timeout",
        "time limit for a response to begin, then 504; 0 for none",
        (_key("entrypoint.readTimeout"),),
    ),
    Option(
        "stall-timeout",
        kinds.DURATION,
        "http.stall_timeout",
        "close the connection of a visitor that takes no bytes of a response for this long; 0 for no limit",
        (_key("stallTimeout"),),
    ),
    *_head_limits("http", "431"),
    Option(
        "max-retries",
        kinds.NUMBER,
        "http.max_retries",
        "how often a request or connection that got no answer is sent to another connector, then 502",
        (_key("maxRetries"),),
    ),
    Option(
        "served-by",
        kinds.SERVED_BY,
        "http.served_by",
        "say in the field Rtunnel-Served-By of responses which connector served them, and whose it is: never, to requests with "
        "Rtunnel-Explain: 1, or always",
    ),
    Option(
        "sticky",
        kinds.STICKY,
        "http.sticky",
        "keep a visitor with one of the clients that share by weight, as long as that one is there: visitors are known by a cookie "
        "of the server, a header field, or their address; by default each request is drawn by itself",
    ),
    Option(
        "retry-buffer",
        kinds.SIZE,
        "http.retry_buffer_bytes",
        "how much of a request body is kept for a retry with another connector",
        (_key("retryBuffer"),),
    ),
    Option(
        "no-pool",
        kinds.NOT,
        "http.pool",
        "open a new stream for each request",
        (_key("entrypoint.keepalive", kind=kinds.SWITCH),),
    ),
    Option(
        "pool-idle",
        kinds.DURATION,
        "http.pool_idle",
        "how long an unused stream is kept for the next request",
        (_key("poolIdle"),),
    ),
    Option(
        "suspect-after",
        kinds.DURATION,
        "health.suspect_after",
        "avoid a client that has requests to answer and gives no sign of life for this long; 0 disables it",
        (_key("suspectAfter"),),
    ),
    Option(
        "dead-after",
        kinds.DURATION,
        "health.dead_after",
        "close its link after this long; its requests go to other clients; 0 disables it",
        (_key("deadAfter"),),
    ),
    Option(
        "no-passive-health",
        kinds.NOT,
        "health.passive",
        "keep sending requests to a client whose target cannot be reached",
        (_key("passiveHealth", kind=kinds.SWITCH),),
    ),
    Option("max-lease", kinds.DURATION, "leases.longest", "how long a client may stay before it has to renew; 0 for no end"),
    Option(
        "lease-idle",
        kinds.DURATION,
        "leases.idle",
        "let a client go for which no request has come for this long; 0 for no such limit",
    ),
    Option(
        "lease-hold",
        kinds.DURATION,
        "leases.hold",
        "how long the filters of a client whose link is lost are kept for it",
    ),
    Option(
        "policy",
        POLICY,
        "policies",
        "what clients of a host have to keep to, e.g. shop.example.org global=forbid require=header:X-User,session max-lease=12h "
        "(docs/intercepts.md); repeatable",
        many=True,
    ),
    Option("max-held-leases", kinds.NUMBER, "leases.held", "maximum number of clients of a tunnel for which they are kept"),
    *_LINK,
    *_LIMITS,
    *_ACCESS_LOG,
    *_PROCESS,
    *_REGISTRY,
    *_PEERS,
    Option(
        "workers",
        kinds.NUMBER,
        "workers",
        "how many processes serve, one for each core; they share the ports and all clients (docs/replicas.md)",
        process=True,
    ),
    Option(
        "ready-wait",
        kinds.DURATION,
        "ready_wait",
        "how long a server that starts waits at most for clients of its tunnels, before it says at /readyz that it is ready",
        process=True,
    ),
    Option(
        "stop-delay",
        kinds.DURATION,
        "stop_delay",
        "how long a server that stops still accepts visitors, so that those who send them, and its clients, can go elsewhere",
        process=True,
    ),
    Option(
        "L",
        kinds.URL,
        "",
        "the same as a gost URL, instead of --listen; repeatable",
        many=True,
    ),
)

_MAX_STREAMS = Option(
    "max-streams",
    kinds.NUMBER,
    "max_streams",
    "maximum number of streams that are forwarded at once; by default what the limit of descriptors allows",
    process=True,
)

CLIENT = (
    _FILE,
    Option(
        "profile",
        kinds.NAME,
        "profile",
        "use what rtunnel login has kept under this name: server, tunnel, user (docs/profiles.md); everything else overrides it",
        process=True,
    ),
    Option("server", kinds.SERVER, "server", "address of the server, e.g. proxy:8421 or wss://shop.example.org/proxy"),
    Option(
        "path",
        kinds.PATH,
        "path",
        "path of the WebSocket at the server",
        (_key("path", "ws.path"),),
    ),
    Option(
        "host-header",
        kinds.HOST,
        "host",
        "Host header of the WebSocket upgrade, if an Ingress expects another name than the server's",
        (_key("host", "ws.host"),),
    ),
    *CLIENT_TLS,
    *PROXIES,
    Option("tunnel", kinds.UUID, "tunnel", "ID of the tunnel to join or visit", (_key("tunnel.id", "tunnelID"),)),
    Option(
        "weight",
        kinds.WEIGHT,
        "weight",
        "share of the requests, 1 to 255; 255 takes all of them",
        (_key("tunnel.weight"),),
    ),
    Option(
        "intercept",
        kinds.INTERCEPT,
        "intercept",
        "take only the requests that match a filter, in place of a share of all: header:X-User=alice, or terms separated by "
        '";", all of which match: cookie:debug=alice; path^=/api; repeatable, any of them may match',
        many=True,
    ),
    Option(
        "session",
        kinds.NAME,
        "session",
        "take the requests of a session, too: of browsers that opened https://HOST/?rtunnel-session=NAME, and of services that "
        "pass its baggage on",
    ),
    Option(
        "keep-caching",
        kinds.SWITCH,
        "keep_caching",
        "leave the Cache-Control of intercepted responses alone; they get no-store otherwise, or a browser would show them later",
    ),
    Option(
        "name",
        kinds.NAME,
        "name",
        "who it is, as others see it; by default the user and the host of this process, in a pod its name and namespace",
    ),
    Option(
        "role",
        kinds.ROLE,
        "role",
        "pod for the client of the service itself, which may take a share of all requests where others may not; laptop otherwise",
        (_key("role"),),
    ),
    Option(
        "join",
        kinds.JOIN,
        "join",
        "all to join each server behind the name of --server, looked up again and again, so that requests stay where they arrive "
        "(docs/replicas.md); one to join any of them",
        (_key("join"),),
    ),
    Option("reason", kinds.TEXT, "reason", 'what for, as others see it, e.g. "PROJ-12 checkout"'),
    Option(
        "lease", kinds.DURATION, "lease", "leave by itself after this long, e.g. 8h; 0 to stay for as long as the server allows"
    ),
    Option(
        "target",
        TARGETS,
        "target",
        "local service: :80 is localhost:80, udp://:53 is UDP, unix:/run/app.sock a unix socket; several, separated by commas, "
        "take turns; repeatable, each is a connector of its own",
        many=True,
    ),
    Option(
        "reach",
        kinds.REACH,
        "reach",
        "in a pod: what developers with the right reach may connect to from here, by rtunnel reach, e.g. "
        "postgres:5432,*.shop.svc:80,dns.shop:53/udp; by default nothing",
    ),
    Option(
        "env-source",
        kinds.WATCHED_FILE,
        "env.source",
        "in a pod: give developers with the right env the application's environment, by rtunnel env: a file of rtunnel pod-env, "
        "/proc/PID/environ or a dotenv file; by default nothing",
    ),
    Option("env-allow", kinds.NAME_PATTERNS, "env.allow", "names of variables that are given out, but for values of Secrets"),
    Option(
        "env-allow-secret",
        kinds.NAME_PATTERNS,
        "env.allow_secret",
        "names whose value is given out although it is one of a Secret, or its source is not known; by default none",
    ),
    Option(
        "files",
        kinds.FILE_ROOTS,
        "files",
        "in a pod: give developers with the right files those of some volumes, by rtunnel files: where the application has a "
        "volume, and where this client has it, e.g. /config=/pod/config; by default none",
    ),
    Option("env-deny", kinds.NAME_PATTERNS, "env.deny", "names that are not even mentioned"),
    *FORWARD,
    *UDP,
    Option("bind", kinds.BIND, "bind", "host name to request for the tunnel; the server may assign another"),
    Option(
        "auth-file",
        kinds.AUTH_FILE,
        "credentials",
        "file with user:password, for a server that requires it",
    ),
    Option(
        "auth",
        kinds.AUTH,
        "credentials",
        "user:password, for a server that requires it",
        (_key("auth", kind=kinds.AUTH_BASE64),),
        secret=True,
    ),
    Option(
        "connect-timeout",
        kinds.DURATION,
        "connect_timeout",
        "time limit for connecting to the server, and to the target",
        (_key("connectTimeout"),),
    ),
    Option(
        "backoff-min",
        kinds.DURATION,
        "backoff_min",
        "maximum delay before the first attempt to reconnect; each further one doubles it",
        (_key("backoffMin"),),
    ),
    Option(
        "backoff-max",
        kinds.DURATION,
        "backoff_max",
        "maximum delay between two attempts",
        (_key("backoffMax"),),
    ),
    *_LINK,
    _MAX_STREAMS,
    *_WATCH,
    *_PROCESS,
    Option(
        "L",
        kinds.URL,
        "",
        "target as a gost URL, rtcp://:0/HOST:PORT (rudp, runix), instead of --target; or a visitor, tcp://:2222/HOST (udp); "
        "repeatable",
        many=True,
    ),
    Option(
        "F",
        kinds.URL,
        "",
        "server as a gost URL, instead of --server; proxies on the path to it first, each in a -F of its own",
        many=True,
    ),
)


_VISITOR_FIELDS = {attribute.name for attribute in attrs.fields(VisitorSettings)} | {
    "mux.keepalive_interval",
    "mux.keepalive_timeout",
}
"""The settings that a visitor shares with a client."""

VISITOR = (
    Option(
        "listen",
        kinds.LOCAL_PORT,
        "listen",
        "local port to open, e.g. 127.0.0.1:2222 or udp://127.0.0.1:5353; repeatable, each with its own --to",
        many=True,
    ),
    Option(
        "to",
        kinds.DESTINATION,
        "to",
        "destination of the port: a host in the server's rules; repeatable",
        many=True,
    ),
    *(
        option
        for option in CLIENT
        if option.field in _VISITOR_FIELDS
        or option.field.startswith(("tls.", "udp."))
        or (option.process and option is not _MAX_STREAMS and option not in _WATCH)
        or option.name == "F"
    ),
    Option(
        "L",
        kinds.URL,
        "",
        "local port as a gost URL, tcp://:2222/ssh.svc or udp://:5353/dns.svc, instead of --listen and --to; repeatable",
        many=True,
    ),
)


def find(rows: tuple[Option, ...], name: str) -> Option:
    """The option of that name.

    :raises KeyError: there is none.
    """
    for option in rows:
        if option.name == name:
            return option
    raise KeyError(name)


def name_of(field: str) -> str | None:
    """The flag of the option for a setting; ``None`` if there is none."""
    return next((option.flag for option in (*SERVER, *CLIENT, *VISITOR) if option.field == field), None)


_MODELS: dict[str, tuple[type, ...]] = {
    "access_log": (AccessLogSettings,),
    "": (ListenerSettings, ConnectorSettings, VisitorSettings, ServerSettings, ClientSettings),
    "health": (HealthSettings,),
    "leases": (LeaseSettings,),
    "http": (HttpSettings,),
    "limits": (LimitSettings,),
    "mux": (MuxSettings,),
    "registry": (RegistrySettings,),
    "peer": (PeerSettings,),
    "env": (PodEnvSettings,),
    "forward": (ForwardSettings,),
    "tls": (ServerTls, ClientTls),
    "udp": (UdpSettings,),
}


def default(option: Option) -> str | None:
    """The default value, as a user would write it; ``None`` if there is none."""
    group, _, name = option.field.rpartition(".")
    for model in _MODELS.get(group, ()):
        attribute: Any = attrs.fields_dict(model).get(name)
        if attribute is None:
            continue
        if attribute.default in (attrs.NOTHING, None, ()):
            return None
        return option.kind.show(attribute.default) or None
    return None
