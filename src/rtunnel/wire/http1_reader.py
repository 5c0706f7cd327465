"""Heads of HTTP/1 out of a connection's bytes: found, judged and taken apart in one call.

Heads of a shape that came often are read with a pattern (:mod:`rtunnel.wire.http1_shapes`), all others by httptools; the result is
the same. Those that may pass as they came need not even be taken apart (``passing``); whoever gets no answer there has them read.
With :data:`FAST` off the patterns are neither made nor used.
"""

from __future__ import annotations

from rtunnel.wire.http1_authority import host_of
from rtunnel.wire.http1_head import HeadError, HeadLimits, head_end
from rtunnel.wire.http1_request import RequestHead, parse_request
from rtunnel.wire.http1_response import ResponseHead, parse_response
from rtunnel.wire.http1_shapes import PassingRequest, PassingResponse, RequestShape, ResponseShape, Shapes

__all__ = ["FAST", "RequestReader", "ResponseReader"]

FAST = True
"""Whether heads of known shapes are read with patterns."""


class RequestReader:
    """Reads the requests that come to one place.

    :param limits: how large a head may be there.
    """

    __slots__ = ("_limits", "_passing", "_room", "_shapes")

    def __init__(self, limits: HeadLimits) -> None:
        self._limits = limits
        # a head within one line's limit breaks no other one; its number of fields was in order when its shape was learned
        self._room = min(limits.line_bytes, limits.head_bytes)
        self._shapes = Shapes(RequestShape)
        self._passing = Shapes(PassingRequest)

    def passing(self, data: bytes) -> tuple[bytes, str, int] | None:
        """Find a GET request at the beginning of ``data`` that may pass to its target as it came, but for the empty line.

        :returns: authority and host as in :class:`~rtunnel.wire.http1_request.RequestHead`, and the index behind the head; None
            when there is none, or none yet: :meth:`read` says which.
        """
        for shape in self._passing.tried:
            match = shape.match(data)
            if match is None:
                continue
            end = match.end()
            if end > self._room:
                return None
            try:
                authority, host = host_of(match[1])
            except HeadError:
                return None
            if shape is not self._passing.tried[0]:
                self._passing.prefer(shape)
            return authority, host, end
        return None

    def read(self, data: bytes, start: int = 0) -> tuple[RequestHead, int] | None:
        """Read the head that begins at ``start``.

        :returns: the head and the index behind it; None when it is not whole yet.
        :raises rtunnel.wire.http1_head.HeadError: when it is not what HTTP/1 allows, or too large.
        """
        for shape in self._shapes.tried:
            found = shape.read(data, start)
            if found is not None and found[1] - start <= self._room:
                if shape is not self._shapes.tried[0]:
                    self._shapes.prefer(shape)
                return found
        end = head_end(data, start, self._limits)
        if end < 0:
            return None
        raw = data[start:end]
        head = parse_request(raw)
        if FAST:
            self._passing.learn(raw)
            self._shapes.learn(raw)
        return head, end


class ResponseReader:
    """Reads the responses of one connector's target.

    :param limits: how large a head may be.
    """

    __slots__ = ("_limits", "_passing", "_room", "_shapes")

    def __init__(self, limits: HeadLimits) -> None:
        self._limits = limits
        self._room = min(limits.line_bytes, limits.head_bytes)
        self._shapes = Shapes(ResponseShape)
        self._passing = Shapes(PassingResponse)

    def passing(self, data: bytes) -> tuple[int, int] | None:
        """Find a response at the beginning of ``data`` that may pass to a visitor of HTTP/1.1 as it came.

        Not for the answer to a HEAD request, and not when the visitor's connection is to close behind it.

        :returns: the index behind the head, and the bytes of the body; None when there is none, or none yet: :meth:`read` says
            which.
        """
        for shape in self._passing.tried:
            match = shape.match(data)
            if match is None:
                continue
            end = match.end()
            if end > self._room:
                return None
            if shape is not self._passing.tried[0]:
                self._passing.prefer(shape)
            return end, int(match[1])
        return None

    def read(self, data: bytes, method: bytes) -> tuple[ResponseHead, int] | None:
        """Read the head at the beginning of ``data``, the answer to a request with a method.

        :returns: the head and the index behind it; None when it is not whole yet.
        :raises rtunnel.wire.http1_head.HeadError: when it is not what HTTP/1 allows, or too large.
        """
        for shape in self._shapes.tried:
            found = shape.read(data, method)
            if found is not None and found[1] <= self._room:
                if shape is not self._shapes.tried[0]:
                    self._shapes.prefer(shape)
                return found
        end = head_end(data, 0, self._limits)
        if end < 0:
            return None
        raw = data[:end]
        head = parse_response(raw, method)
        if FAST:
            self._passing.learn(raw)
            self._shapes.learn(raw)
        return head, end
