"""Heads of HTTP/1 out of a connection's bytes: found, judged and taken apart in one call.

Heads of a kind that came often are read with a template (:mod:`rtunnel.wire.http1_templates`), all others by httptools; the result
means the same. With :data:`FAST` off no template is made or used.
"""

from __future__ import annotations

from functools import partial

from rtunnel.wire.http1_head import HeadLimits, head_end
from rtunnel.wire.http1_policy import UNTRUSTED, FieldPolicy
from rtunnel.wire.http1_request import RequestHead, parse_request
from rtunnel.wire.http1_response import ResponseHead, parse_response
from rtunnel.wire.http1_templates import RequestTemplate, ResponseTemplate, Templates

__all__ = ["FAST", "RequestReader", "ResponseReader"]

FAST = True
"""Whether heads of known kinds are read with templates."""


class RequestReader:
    """Reads the requests that come to one place.

    :param limits: how large a head may be there.
    :param policy: which fields are taken out, dropped and noted.
    :ivar templates: of the heads that came often. Whoever has no byte to lose asks the first one directly (``templates.first``).
    :ivar max_template: bytes of data in which a template may look without regard to the limits.
    :ivar parsed: heads that no template took.
    """

    __slots__ = ("_limits", "max_template", "parsed", "policy", "templates")

    def __init__(self, limits: HeadLimits, policy: FieldPolicy = UNTRUSTED) -> None:
        self.policy = policy
        self.parsed = 0
        self._limits = limits
        # a head within one line's limit breaks no other one; its number of fields was in order when its template was made
        self.max_template = min(limits.line_bytes, limits.head_bytes)
        self.templates = Templates(partial(RequestTemplate, policy=policy))

    def read(self, data: bytes, start: int = 0) -> tuple[RequestHead, int] | None:
        """Read the head that begins at ``start``.

        :returns: the head and the index after it; None when it is not whole yet.
        :raises rtunnel.wire.http1_head.HeadError: when it is not what HTTP/1 allows, or too large.
        """
        templates = self.templates
        for template in templates.tried():
            found = template.read(data, start)
            if found is not None and found[1] - start <= self.max_template:
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
    """Reads the responses of one connector's target.

    :param limits: how large a head may be.
    :ivar templates: of the heads that came often. Whoever has no byte to lose asks the first one directly (``templates.first``).
    :ivar max_template: bytes of data in which a template may look without regard to the limits.
    :ivar parsed: heads that no template took.
    """

    __slots__ = ("_limits", "max_template", "parsed", "templates")

    def __init__(self, limits: HeadLimits) -> None:
        self.parsed = 0
        self._limits = limits
        self.max_template = min(limits.line_bytes, limits.head_bytes)
        self.templates = Templates(ResponseTemplate)

    def read(self, data: bytes, method: bytes) -> tuple[ResponseHead, int] | None:
        """Read the head at the beginning of ``data``, the answer to a request with a method.

        :returns: the head and the index after it; None when it is not whole yet.
        :raises rtunnel.wire.http1_head.HeadError: when it is not what HTTP/1 allows, or too large.
        """
        templates = self.templates
        for template in templates.tried():
            found = template.read(data, method)
            if found is not None and found[1] <= self.max_template:
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
