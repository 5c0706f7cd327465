"""The answers of our own: short, with the request id, never internals."""

from __future__ import annotations

from html import escape
from http import HTTPStatus

__all__ = ["EXPLANATIONS", "own_answer"]

EXPLANATIONS = {
    400: "The request could not be understood.",
    404: "No service is published under this host name.",
    408: "The request did not arrive in time.",
    431: "The header of the request is too large.",
    500: "Something went wrong here. Details are in the server log, under this request ID.",
    501: "The request asks for something that is not supported.",
    502: "The service could not be reached, or closed the connection before it answered.",
    503: "No client is currently connected for this service. Try again in a moment.",
    504: "The service did not begin to answer in time.",
    505: "This version of HTTP is not supported.",
}
RETRY_AFTER = 2
"""Seconds that a visitor is asked to wait when no connector is attached."""


def _reason(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"


def own_answer(status: int, *, request_id: bytes = b"", accept: bytes = b"", close: bool = False) -> tuple[bytes, bytes]:
    """Build a whole response: its head and its body.

    :param status: HTTP status.
    :param request_id: shown to the visitor and set as X-Request-Id, to be found again in the log.
    :param accept: the visitor's Accept: HTML when it names it, else plain text.
    :param close: whether the connection ends after it.
    """
    reason = _reason(status)
    explanation = EXPLANATIONS.get(status, "")
    shown_id = request_id.decode("ascii", "replace")
    if b"text/html" in accept.lower():
        kind = "text/html"
        text = (
            f"<!doctype html><title>{status} {escape(reason)}</title><h1>{status} {escape(reason)}</h1>"
            f"<p>{escape(explanation)}</p>" + (f"<p><small>Request {escape(shown_id)}</small></p>" if shown_id else "")
        )
    else:
        kind = "text/plain"
        text = f"{status} {reason}: {explanation}" + (f" (request {shown_id})" if shown_id else "")
    body = text.encode() + b"\n"
    lines = [
        f"HTTP/1.1 {status} {reason}",
        f"Content-Type: {kind}; charset=utf-8",
        f"Content-Length: {len(body)}",
        "Cache-Control: no-store",
    ]
    if shown_id:
        lines.append(f"X-Request-Id: {shown_id}")
    if status == 503:
        lines.append(f"Retry-After: {RETRY_AFTER}")
    if close:
        lines.append("Connection: close")
    return "\r\n".join(lines).encode() + b"\r\n\r\n", body
