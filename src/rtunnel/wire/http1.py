"""HTTP/1 for a reverse proxy: strict parsing and rewriting of heads, and tracking of bodies.

Nothing here does I/O, and only the tracking of chunked bodies has state. The caller

1. reads a head with a :class:`RequestReader` (after :func:`skip_empty_lines`) or a :class:`ResponseReader`,
2. rewrites it with :func:`write_request` or :func:`write_response`,
3. passes on ``body`` bytes, or as many as :class:`ChunkedBody` determines.

Invalid data of a peer raises :class:`HeadError` and nothing else.
"""

from __future__ import annotations

from rtunnel.wire.http1_body import LAST_CHUNK, ChunkedBody, write_chunk
from rtunnel.wire.http1_fields import CHUNKED, UNTIL_CLOSE
from rtunnel.wire.http1_head import HeadError, HeadLimits, head_end, skip_empty_lines
from rtunnel.wire.http1_local import LocalRewrite
from rtunnel.wire.http1_policy import PASS_ALL, TRUSTED, UNTRUSTED, FieldPolicy
from rtunnel.wire.http1_reader import RequestReader, ResponseReader
from rtunnel.wire.http1_request import RequestHead, parse_request, write_request
from rtunnel.wire.http1_response import ResponseHead, parse_response, write_response
from rtunnel.wire.http1_rewrite import RequestRewrite

__all__ = [
    "CHUNKED",
    "LAST_CHUNK",
    "PASS_ALL",
    "TRUSTED",
    "UNTIL_CLOSE",
    "UNTRUSTED",
    "ChunkedBody",
    "FieldPolicy",
    "HeadError",
    "HeadLimits",
    "LocalRewrite",
    "RequestHead",
    "RequestReader",
    "RequestRewrite",
    "ResponseHead",
    "ResponseReader",
    "head_end",
    "parse_request",
    "parse_response",
    "skip_empty_lines",
    "write_chunk",
    "write_request",
    "write_response",
]
