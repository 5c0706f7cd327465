"""What a client that intercepts says to its user: who gets what, how to try it, and why it was refused."""

from __future__ import annotations

import getpass
import os
import shlex
import socket
from pathlib import Path
from urllib.parse import quote

from rtunnel.routing.intercept_terms import SESSION, InterceptFilter, Kind, Op, Term
from rtunnel.settings.checks import plain
from rtunnel.wire.relay_intercepts import InterceptAnswer

__all__ = ["MAY_NOT_KNOW", "NOT_GRANTED", "default_name", "describe_conflict", "example_request", "share_links", "span"]

MAY_NOT_KNOW = "a server that does not know intercepts may close the connection"

NOT_GRANTED = (
    "the server answered without saying that it knows intercepts, so we left: it might have sent all requests; "
    "update the server, or use --weight"
)

_CURL_OPTIONS = {Kind.HEADER: "-H", Kind.BAGGAGE: "-H", Kind.COOKIE: "-b", Kind.METHOD: "-X"}


_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
"""Where Kubernetes says to a pod which namespace it is in."""


def default_name() -> str:
    """Who runs this process, and where, as others see it: the user and the host, in a pod its name and namespace."""
    pod, namespace = os.environ.get("POD_NAME") or socket.gethostname(), os.environ.get("POD_NAMESPACE") or _namespace()
    if namespace:
        return f"{pod}/{namespace}"
    try:
        user = getpass.getuser()
    except (KeyError, OSError, ImportError):
        # a container's user without an entry in /etc/passwd; Windows without the usual variables
        user = "user"
    return f"{user}@{socket.gethostname()}"


def _namespace() -> str:
    try:
        return _NAMESPACE.read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return ""


def describe_conflict(answer: InterceptAnswer) -> str:
    """Say why a server refused, in one line."""
    if answer.taken:
        return (
            f'the server refused: requests with "{plain(answer.why)}" are taken by {plain(answer.holder)} '
            f'with "{plain(answer.taken)}"{_for_how_long(answer)}; ask them to leave (rtunnel take), or choose another filter'
        )
    return f"the server refused: {plain(answer.why)}"


def _for_how_long(answer: InterceptAnswer) -> str:
    parts = [f'for "{plain(answer.reason)}"'] if answer.reason else []
    if answer.left:
        parts.append(f"for another {span(answer.left)}")
    if answer.held:
        parts.append("whose link is lost")
    return f" ({', '.join(parts)})" if parts else ""


def span(seconds: float) -> str:
    """A time for people: ``8 h``, ``48 min``, ``30 s``."""
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def example_request(filters: tuple[InterceptFilter, ...], hosts: tuple[str, ...], *, secure: bool) -> str | None:
    """A command line whose request one of the filters takes.

    :param hosts: host patterns that lead to the tunnel.
    :param secure: whether the server is reached by TLS; then its hosts are, too, as far as one can tell.
    :returns: None if none can be made up: of a pattern, say.
    """
    for wanted in filters:
        example = _curl(wanted, hosts, _scheme(secure))
        if example is not None:
            return example
    return None


def share_links(session: str, hosts: tuple[str, ...], *, secure: bool) -> list[str]:
    """The links with which a browser joins a session.

    :param session: its name; ``""`` for none.
    :param hosts: host patterns that lead to the tunnel.
    :param secure: as for :func:`example_request`.
    """
    if not session:
        return []
    return [f"{_scheme(secure)}://{host}/?{SESSION}={session}" for host in hosts if "*" not in host]


def _scheme(secure: bool) -> str:
    return "https" if secure else "http"


def _curl(wanted: InterceptFilter, hosts: tuple[str, ...], scheme: str) -> str | None:
    words, host, path, parameters = ["curl"], next((host for host in hosts if "*" not in host), None), "/", []
    for term in wanted.terms:
        value = _value(term)
        if term.negated:
            continue
        if value is None:
            return None
        if term.kind is Kind.HOST:
            host = value
        elif term.kind is Kind.PATH:
            path = quote(value)
        elif term.kind is Kind.QUERY:
            parameters.append(f"{quote(term.name)}={quote(value, safe='')}")
        else:
            words += (_CURL_OPTIONS[term.kind], _field(term, value))
    if host is None:
        return None
    url = f"{scheme}://{host}{path}" + ("?" + "&".join(parameters) if parameters else "")
    return " ".join(shlex.quote(word) for word in (*words, url))


def _value(term: Term) -> str | None:
    """A value that the term accepts, if it is easily found."""
    if term.op is Op.PRESENT:
        return "1"
    if term.kind is Kind.METHOD:
        return term.value.partition(",")[0]
    return term.value if term.op in (Op.EXACT, Op.PREFIX) else None


def _field(term: Term, value: str) -> str:
    if term.kind is Kind.HEADER:
        return f"{term.name}: {value}" if value else f"{term.name};"
    if term.kind is Kind.BAGGAGE:
        return f"baggage: {term.name}={quote(value, safe='')}"
    return value if term.kind is Kind.METHOD else f"{term.name}={value}"
