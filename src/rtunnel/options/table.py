"""Every option of the two commands, once: its name, kind, setting, words and the keys that mean the same in a URL of gost.

The command line, the environment, the URLs, ``--help`` and the check of docs/options.md all read these rows; defaults and bounds
stand in :mod:`rtunnel.settings`.
"""

from __future__ import annotations

from typing import Any

import attrs

from rtunnel.options import kinds
from rtunnel.options.kinds import Kind
from rtunnel.options.proxies import PROXY, PROXY_FILE
from rtunnel.options.targets import HEADER, HEADER_NAME, ROUND, TARGETS
from rtunnel.settings import (
    AccessLogSettings,
    ClientSettings,
    ClientTls,
    ConnectorSettings,
    ForwardSettings,
    HttpSettings,
    ListenerSettings,
    MuxSettings,
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
    :ivar kind: its form, ``None`` for the option's own.
    """

    names: tuple[str, ...]
    kind: Kind | None = None


@attrs.frozen
class Option:
    """One thing that can be asked for.

    :ivar name: the long name without dashes; one letter for gost's ``-L`` and ``-F``.
    :ivar kind: its form.
    :ivar field: the path of the setting, e.g. ``http.head_timeout``; ``""`` for gost's URLs.
    :ivar help: one sentence.
    :ivar keys: URL keys for the same setting; where two are given the later row wins.
    :ivar many: whether it can be given several times.
    :ivar process: whether it is one setting of the whole process rather than of a listener or connector.
    :ivar secret: whether it is not taken from the command line, which everybody can read.
    :ivar short: a second name of one letter, ``""`` for none.
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

    @property
    def flag(self) -> str:
        """How it is written on the command line."""
        return f"-{self.name}" if len(self.name) == 1 else f"--{self.name}"

    @property
    def variable(self) -> str:
        """How it is written in the environment."""
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
    "a file with everything that options say and more (docs/configuration.md); options win over it",
    process=True,
    short="c",
)

_LINK = (
    Option(
        "handshake-timeout",
        kinds.DURATION,
        "handshake_timeout",
        "how long the upgrade and the first words of a new link may take",
        (_key("readTimeout"), _key("readHeaderTimeout"), _key("handshakeTimeout")),
    ),
    Option(
        "keepalive-interval",
        kinds.DURATION,
        "mux.keepalive_interval",
        "how often a link is told that we live; 0 for never",
        (_key("mux.keepaliveInterval"), _key("mux.keepaliveDisabled", kind=kinds.OFF)),
    ),
    Option(
        "keepalive-timeout",
        kinds.DURATION,
        "mux.keepalive_timeout",
        "a link that was silent for this long is dead",
        (_key("mux.keepaliveTimeout"),),
    ),
    Option(
        "stream-window",
        kinds.SIZE,
        "mux.stream_window",
        "how much of one stream may be under way",
        (_key("mux.maxStreamBuffer"),),
    ),
    Option(
        "receive-buffer",
        kinds.SIZE,
        "mux.receive_buffer",
        "how much of all streams of a link together",
        (_key("mux.maxReceiveBuffer"),),
    ),
    Option("frame-size", kinds.SIZE, "mux.frame_size", "the largest frame that is sent", (_key("mux.maxFrameSize"),)),
    Option(
        "mux-version",
        kinds.NUMBER,
        "mux.version",
        "the version of smux, 1 or 2; the same on both ends",
        (_key("mux.version"), _key("mux.type", kind=kinds.SMUX)),
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
        "the certificate and its chain for wss:// and tls://, in PEM; read again when it changes",
        (_CERT_KEY,),
    ),
    Option(
        "key-file",
        kinds.FILE,
        "tls.key_file",
        "the key of the certificate, in PEM, where it does not stand in the same file",
        (_KEY_KEY,),
    ),
    Option(
        "ca-file",
        kinds.FILE,
        "tls.ca_file",
        "admit only clients that show a certificate of this CA, in PEM",
        (_CA_KEY,),
    ),
    Option(
        "self-signed",
        kinds.SWITCH,
        "tls.self_signed",
        "for a trial: make a certificate at each start, which clients cannot verify",
        (_key("selfSigned"),),
    ),
)

CLIENT_TLS = (
    Option(
        "tls-server-name",
        kinds.HOST,
        "tls.server_name",
        "the name that the server's certificate must be for, where it is not the host of --server",
        (_key("serverName", "tls.serverName"),),
    ),
    Option(
        "ca-file",
        kinds.FILE,
        "tls.ca_file",
        "trust servers of this CA, in PEM, instead of those that the system trusts",
        (_CA_KEY,),
    ),
    Option(
        "no-verify",
        kinds.NOT,
        "tls.verify",
        "do not verify the server's certificate: anybody on the way can read and change everything",
        (_key("secure", "tls.secure", kind=kinds.SWITCH),),
    ),
    Option(
        "cert-file",
        kinds.FILE,
        "tls.cert_file",
        "a certificate for a server that asks for one, in PEM; read again when it changes",
        (_CERT_KEY,),
    ),
    Option(
        "key-file",
        kinds.FILE,
        "tls.key_file",
        "the key of the certificate, in PEM, where it does not stand in the same file",
        (_KEY_KEY,),
    ),
)

PROXIES = (
    Option(
        "proxy",
        PROXY,
        "proxies",
        "reach the server through this proxy: http://, https:// or socks5://, perhaps with USER:PASSWORD@; several make a chain, "
        "the nearest first; direct for none, whatever HTTPS_PROXY and the like say",
        many=True,
    ),
    Option(
        "proxy-file",
        PROXY_FILE,
        "proxies",
        "a file with the URL of a proxy, which may hold a password",
        many=True,
    ),
)
"""What stands between a client and its server."""

_PROCESS = (
    Option(
        "admin",
        kinds.ADDRESS,
        "admin",
        "serve /livez, /readyz, /metrics and /status here, e.g. 127.0.0.1:8480",
        process=True,
    ),
    Option(
        "drain",
        kinds.DURATION,
        "drain",
        "how long running requests may go on when the process is stopped",
        process=True,
    ),
)

FORWARD = (
    Option(
        "max-fails",
        kinds.NUMBER,
        "forward.max_fails",
        "connects that may fail in a row before a target of a list is left out",
        (_key("maxFails", "max_fails"), _key("strategy", kind=ROUND)),
    ),
    Option(
        "fail-timeout",
        kinds.DURATION,
        "forward.fail_timeout",
        "how long it is left out then; 0 for never",
        (_key("failTimeout", "fail_timeout"),),
    ),
    Option(
        "proxy-protocol",
        kinds.NUMBER,
        "forward.proxy_protocol",
        "tell the target who visits, with a PROXY header of version 1 or 2; 0 for none",
        (_key("proxyProtocol"),),
    ),
    Option(
        "sniff-timeout",
        kinds.DURATION,
        "forward.sniff_timeout",
        "how long a visitor has to show what it speaks, where a target's filter asks",
        (_key("sniffing.timeout"),),
    ),
    Option(
        "set-host",
        kinds.HOST,
        "forward.set_host",
        "the Host that requests have when they reach the target",
    ),
    Option(
        "set-header",
        HEADER,
        "forward.set_headers",
        "a header field that requests have when they reach the target; several may be given",
        many=True,
    ),
    Option(
        "remove-header",
        HEADER_NAME,
        "forward.remove_headers",
        "a header field that is taken out of requests; several may be given",
        many=True,
    ),
)
"""What a client does with its targets; the keys stand in its ``-L``."""

UDP = (
    Option(
        "udp-idle",
        kinds.DURATION,
        "udp.idle",
        "an association of UDP is over when nothing was sent either way for this long",
        (_key("ttl"),),
    ),
    Option(
        "udp-associations",
        kinds.NUMBER,
        "udp.associations",
        "the most associations of a local port of UDP; a new one takes the place of the one that was silent longest",
        (_key("udpAssociations"),),
    ),
)
"""Limits of UDP; the keys stand in the ``-L`` of ``rudp`` and ``udp``."""

_ACCESS_LOG = (
    Option(
        "access-log",
        kinds.FILE,
        "access_log.file",
        'write a line for each request and connection into this file, "-" for stdout',
        process=True,
    ),
    Option(
        "access-log-format",
        kinds.LINE,
        "access_log.format",
        "how a line of the access log looks",
        process=True,
    ),
    Option(
        "access-log-query",
        kinds.SWITCH,
        "access_log.query",
        "write the query of a request too; it may hold secrets",
        process=True,
    ),
)

SERVER = (
    _FILE,
    Option("listen", kinds.PLACE, "listen", "where clients attach, e.g. :8421 or wss://:8443/proxy"),
    Option(
        "path",
        kinds.PATH,
        "path",
        "the path of the WebSocket at which clients attach",
        (_key("path", "ws.path"),),
    ),
    *_SERVER_TLS,
    Option(
        "entrypoint",
        kinds.ADDRESS,
        "entrypoints",
        "where visitors arrive; several may be given",
        (_key("entrypoint"),),
        many=True,
    ),
    Option(
        "route",
        kinds.ROUTE,
        "rules",
        "which host belongs to which tunnel; HOST may be *.example.org, $UUID makes it private; several may be given",
        (_key("tunnel"),),
        many=True,
    ),
    Option(
        "routes-file",
        kinds.WATCHED_FILE,
        "routes_file",
        "a file with more of them, one HOST=UUID a line; it is read again when it changes",
        (_key("routesFile"),),
    ),
    Option(
        "proxy-protocol",
        kinds.CIDR,
        "proxy_protocol",
        "connections from these addresses begin with a PROXY header, which says whose they are; several may be given",
        (_key("entrypoint.ProxyProtocol", kind=kinds.PROXY_PROTOCOL),),
        many=True,
    ),
    Option(
        "users",
        kinds.FILE,
        "users",
        'a file of users, NAME:HASH lines as "rtunnel user NAME" makes them; only they may connect',
        (_key("users"),),
    ),
    Option(
        "permissions",
        kinds.FILE,
        "permissions",
        "a file that says which user may bind and visit which tunnel; without it each may everything",
        (_key("permissions"),),
    ),
    Option(
        "auth-file",
        kinds.AUTH_FILE,
        "credentials",
        "a file with user:password, for a single user",
    ),
    Option(
        "auth",
        kinds.AUTH,
        "credentials",
        "user:password that clients must give, for a single user",
        (_key("auth", kind=kinds.AUTH_BASE64),),
        secret=True,
    ),
    Option(
        "entrypoint-id",
        kinds.UUID,
        "entrypoint_id",
        "the ID by which public entrypoints outside of this server visit all that is not private",
        (_key("entrypoint.id"),),
    ),
    Option(
        "direct",
        kinds.SWITCH,
        "direct",
        "whoever knows the ID of a tunnel may join and visit it, without a rule",
        (_key("tunnel.direct"),),
    ),
    Option(
        "trusted-proxy",
        kinds.CIDR,
        "http.trusted_proxies",
        "believe X-Forwarded-* and X-Request-Id of these addresses; several may be given",
        (_key("trustedProxy"),),
        many=True,
    ),
    Option(
        "head-timeout",
        kinds.DURATION,
        "http.head_timeout",
        "a request head must have arrived by then, else 408",
        (_key("headTimeout"),),
    ),
    Option(
        "idle-timeout",
        kinds.DURATION,
        "http.idle_timeout",
        "how long a kept-alive connection may wait for its next request",
        (_key("idleTimeout"),),
    ),
    Option(
        "response-timeout",
        kinds.DURATION,
        "http.response_timeout",
        "the answer must have begun by then, else 504; 0 for no limit",
        (_key("entrypoint.readTimeout"),),
    ),
    Option("max-head", kinds.SIZE, "http.head_bytes", "the largest head of a request, else 431", (_key("maxHead"),)),
    Option("max-line", kinds.SIZE, "http.line_bytes", "the longest line in a head, else 431", (_key("maxLine"),)),
    Option(
        "max-headers",
        kinds.NUMBER,
        "http.header_count",
        "the most header fields in a head, else 431",
        (_key("maxHeaders"),),
    ),
    Option(
        "retry-buffer",
        kinds.SIZE,
        "http.retry_buffer_bytes",
        "how much of a body is kept so that another connector can be tried",
        (_key("retryBuffer"),),
    ),
    Option(
        "no-pool",
        kinds.NOT,
        "http.pool",
        "use a new stream for each request",
        (_key("entrypoint.keepalive", kind=kinds.SWITCH),),
    ),
    Option(
        "pool-idle",
        kinds.DURATION,
        "http.pool_idle",
        "how long a free stream is kept for the next request",
        (_key("poolIdle"),),
    ),
    *_LINK,
    *_ACCESS_LOG,
    *_PROCESS,
    Option(
        "L",
        kinds.URL,
        "",
        "the same as a URL of gost, instead of --listen; several may be given",
        many=True,
    ),
)

CLIENT = (
    _FILE,
    Option("server", kinds.SERVER, "server", "where the server listens, e.g. proxy:8421 or wss://proxy:8443/proxy"),
    Option(
        "path",
        kinds.PATH,
        "path",
        "the path of the WebSocket at the server",
        (_key("path", "ws.path"),),
    ),
    Option(
        "host-header",
        kinds.HOST,
        "host",
        "the Host header of the upgrade, where an Ingress asks for another name than the server's",
        (_key("host", "ws.host"),),
    ),
    *CLIENT_TLS,
    *PROXIES,
    Option("tunnel", kinds.UUID, "tunnel", "which tunnel to join or to visit", (_key("tunnel.id", "tunnelID"),)),
    Option(
        "weight",
        kinds.WEIGHT,
        "weight",
        "the share of the requests, 1 to 255; 255 takes them all",
        (_key("tunnel.weight"),),
    ),
    Option(
        "target",
        TARGETS,
        "target",
        "the local service; :80 is localhost:80, udp://:53 is one of UDP, unix:/run/app.sock a unix socket; "
        "several with commas take turns; each --target given is a connector of its own",
        many=True,
    ),
    *FORWARD,
    *UDP,
    Option("bind", kinds.BIND, "bind", "the address asked of the server; it may give another one"),
    Option(
        "auth-file",
        kinds.AUTH_FILE,
        "credentials",
        "a file with user:password, for a server that asks",
    ),
    Option(
        "auth",
        kinds.AUTH,
        "credentials",
        "user:password, for a server that asks",
        (_key("auth", kind=kinds.AUTH_BASE64),),
        secret=True,
    ),
    Option(
        "connect-timeout",
        kinds.DURATION,
        "connect_timeout",
        "how long connecting to the server, or to the target, may take",
        (_key("connectTimeout"),),
    ),
    Option(
        "backoff-min",
        kinds.DURATION,
        "backoff_min",
        "the first wait after a lost link",
        (_key("backoffMin"),),
    ),
    Option(
        "backoff-max",
        kinds.DURATION,
        "backoff_max",
        "the longest wait between two attempts",
        (_key("backoffMax"),),
    ),
    *_LINK,
    *_PROCESS,
    Option(
        "L",
        kinds.URL,
        "",
        "a target as a URL of gost, rtcp://:0/HOST:PORT (rudp, runix), instead of --target; or a visitor, tcp://:2222/HOST (udp); "
        "several may be given",
        many=True,
    ),
    Option(
        "F",
        kinds.URL,
        "",
        "the server as a URL of gost, instead of --server; proxies on the way to it before it, each in a -F of its own",
        many=True,
    ),
)


_VISITED = {attribute.name for attribute in attrs.fields(VisitorSettings)} | {"mux.keepalive_interval", "mux.keepalive_timeout"}
"""The settings that a visitor shares with a client."""

VISITOR = (
    Option(
        "listen",
        kinds.LOCAL_PORT,
        "listen",
        "the local port to open, e.g. 127.0.0.1:2222 or udp://127.0.0.1:5353; several may be given, each with a --to of its own",
        many=True,
    ),
    Option(
        "to",
        kinds.DESTINATION,
        "to",
        "what to visit there: a host that a rule of the server names; several may be given",
        many=True,
    ),
    *(
        option
        for option in CLIENT
        if option.field in _VISITED or option.field.startswith(("tls.", "udp.")) or option.process or option.name == "F"
    ),
    Option(
        "L",
        kinds.URL,
        "",
        "the local port as a URL of gost, tcp://:2222/ssh.svc or udp://:5353/dns.svc, instead of --listen and --to; "
        "several may be given",
        many=True,
    ),
)


def find(rows: tuple[Option, ...], name: str) -> Option:
    """The row of that name.

    :raises KeyError: there is none.
    """
    for option in rows:
        if option.name == name:
            return option
    raise KeyError(name)


def name_of(field: str) -> str | None:
    """The flag of the option for a setting, ``None`` when there is none."""
    return next((option.flag for option in (*SERVER, *CLIENT, *VISITOR) if option.field == field), None)


_MODELS: dict[str, tuple[type, ...]] = {
    "access_log": (AccessLogSettings,),
    "": (ListenerSettings, ConnectorSettings, VisitorSettings, ServerSettings, ClientSettings),
    "http": (HttpSettings,),
    "mux": (MuxSettings,),
    "forward": (ForwardSettings,),
    "tls": (ServerTls, ClientTls),
    "udp": (UdpSettings,),
}


def default(option: Option) -> str | None:
    """The value that is used when nobody asks, as it could be typed; ``None`` when there is none."""
    group, _, name = option.field.rpartition(".")
    for model in _MODELS[group]:
        attribute: Any = attrs.fields_dict(model).get(name)
        if attribute is None:
            continue
        if attribute.default in (attrs.NOTHING, None, ()):
            return None
        return option.kind.show(attribute.default) or None
    return None
