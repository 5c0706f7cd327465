"""Readers of HTTP/1 heads: find, validate and parse the next head of a connection in one call.

Heads of a frequent kind are read with a template (:mod:`rtunnel.wire.http1_templates`), all others by httptools, with
the same result. If :data:`FAST` is False, no templates are made or used.
"""

from __future__ import annotations

from functools import partial

from rtunnel.wire.http1_head import HeadLimits, goes_on, head_end
from rtunnel.wire.http1_policy import UNTRUSTED, FieldPolicy
from rtunnel.wire.http1_request import RequestHead, parse_request
from rtunnel.wire.http1_response import ResponseHead, parse_response
from rtunnel.wire.http1_templates import RequestTemplate, ResponseTemplate, Templates

__all__ = ["FAST", "RequestReader", "ResponseReader"]

FAST = True
"""Whether heads of known kinds are read with templates."""


class RequestReader:
    """Reads request heads.

    :param limits: maximum sizes of a head.
    :param policy: which fields are taken, dropped and noted.
    :ivar parsed: number of heads that matched no template.
    :ivar templates: of frequent heads. Nearly every head matches the template of the last one, so the hot path tries
        ``templates.first`` before :meth:`read`.
    """

    __slots__ = ("_limits", "parsed", "policy", "templates")

    def __init__(self, limits: HeadLimits, policy: FieldPolicy = UNTRUSTED) -> None:
        self.policy = policy
        self.parsed = 0
        self._limits = limits
        self.templates = Templates(partial(RequestTemplate, policy=policy, max_size=_max_template(limits)))

    def goes_on(self, begun: bytes, data: bytes) -> bool:
        """See :func:`~rtunnel.wire.http1_head.goes_on`."""
        return goes_on(begun, data, self._limits)

    def read(self, data: bytes, start: int = 0) -> tuple[RequestHead, int] | None:
        """Read the head that begins at ``start``.

        :returns: the head and the index after it; None while it is incomplete.
        :raises rtunnel.wire.http1_head.HeadError: when it is invalid or too large.
        """
        templates = self.templates
        for template in templates.tried():
            found = template.read(data, start)
            if found is not None:
                templates.prefer(template)
                return found
        end = head_end(data, start, self._limits)
        if end < 0:
            return None
        raw = data[start:end]
        head = parse_request(raw, self.policy)
        self.parsed += 1
        if FAST:
            templates.learn(raw)
        return head, end


class ResponseReader:
    """Reads response heads of one connector's target.

    :param limits: maximum sizes of a head.
    :ivar parsed: number of heads that matched no template.
    :ivar templates: as in :class:`RequestReader`; they match final responses only, never interim ones.
    """

    __slots__ = ("_limits", "parsed", "templates")

    def __init__(self, limits: HeadLimits) -> None:
        self.parsed = 0
        self._limits = limits
        self.templates = Templates(partial(ResponseTemplate, max_size=_max_template(limits)))

    def goes_on(self, begun: bytes, data: bytes) -> bool:
        """See :func:`~rtunnel.wire.http1_head.goes_on`."""
        return goes_on(begun, data, self._limits)

    def read(self, data: bytes, method: bytes) -> tuple[ResponseHead, int] | None:
        """Read the head at the beginning of ``data``.

        :param method: of its request.
        :returns: the head and the index after it; None while it is incomplete.
        :raises rtunnel.wire.http1_head.HeadError: when it is invalid or too large.
        """
        templates = self.templates
        for template in templates.tried():
            found = template.read(data, method)
            if found is not None:
                templates.prefer(template)
                return found
        end = head_end(data, 0, self._limits)
        if end < 0:
            return None
        raw = data[:end]
        head = parse_response(raw, method)
        self.parsed += 1
        if FAST:
            templates.learn(raw)
        return head, end


def _max_template(limits: HeadLimits) -> int:
    """A head within the limit of a line exceeds no other one; its number of fields was checked when its template was made."""
    return min(limits.line_bytes, limits.head_bytes)
