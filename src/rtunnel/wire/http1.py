"""HTTP/1 as a reverse proxy needs it: heads parsed strictly and written anew, bodies followed as they pass.

Nothing here does I/O or keeps anything but where a chunked body stands. A caller that holds the bytes of a connection

1. reads a head with a :class:`RequestReader` (behind :func:`skip_empty_lines`) or a :class:`ResponseReader`,
2. writes it anew with :func:`write_request` or :func:`write_response`,
3. passes ``body`` bytes on, or those that :class:`ChunkedBody` says.

Whatever the peer did wrong is a :class:`HeadError`; nothing else is raised, whatever the bytes.
"""

from __future__ import annotations

from rtunnel.wire.http1_body import LAST_CHUNK, ChunkedBody, write_chunk
from rtunnel.wire.http1_fields import CHUNKED, UNTIL_CLOSE
from rtunnel.wire.http1_head import HeadError, HeadLimits, head_end, skip_empty_lines
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
