"""A service in a process of its own, so that it can be stopped and killed: ``python -m tests.faults.target NAME PORT``.

- GET: the service's name; ``/down/N``: N bytes; ``/hang``: no answer
- POST, PUT: the length of the body and its SHA-256
- ``Upgrade: echo``: 101, then it sends back what it gets (but ``/hang`` stays without an answer)

``--echo PORT`` opens a port of TCP and one of UDP besides, which send back what they get; with ``--cert`` and ``--key`` it speaks
HTTPS.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import ssl
from asyncio import StreamReader, StreamWriter
from contextlib import suppress
from typing import Any

from tests.support.processes import LOOPBACK

BLOCK = b"rtunnel!" * 8192


class Target:
    """Answers with a name."""

    def __init__(self, name: str) -> None:
        self._name = name.encode()

    async def serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        """One connection, until it ends."""
        with suppress(OSError, EOFError, asyncio.CancelledError):
            while await self._exchange(reader, writer):
                pass
        writer.close()

    async def _exchange(self, reader: StreamReader, writer: StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        method, path, _ = head.partition("\r\n")[0].split(" ", 2)
        fields = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
        if path == "/hang":
            await reader.read()
            return False
        if "upgrade" in fields:
            await _upgrade(reader, writer)
            return False
        if method in ("POST", "PUT"):
            await _answer(writer, await _digest(reader, int(fields.get("content-length", "0"))))
        elif path.startswith("/down/"):
            await _download(writer, int(path.rpartition("/")[2]))
        else:
            await _answer(writer, self._name)
        return fields.get("connection") != "close"


async def _answer(writer: StreamWriter, body: bytes) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    await writer.drain()


async def _digest(reader: StreamReader, size: int) -> bytes:
    digest, left = hashlib.sha256(), size
    while left:
        data = await reader.read(min(left, len(BLOCK)))
        if not data:
            raise EOFError
        digest.update(data)
        left -= len(data)
    return f"{size} {digest.hexdigest()}".encode()


async def _download(writer: StreamWriter, size: int) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
    while size:
        writer.write(BLOCK[:size])
        size -= min(size, len(BLOCK))
        await writer.drain()


async def _upgrade(reader: StreamReader, writer: StreamWriter) -> None:
    writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
    await _copy(reader, writer)


async def _copy(reader: StreamReader, writer: StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


async def _echo(reader: StreamReader, writer: StreamWriter) -> None:
    with suppress(OSError, asyncio.CancelledError):
        await _copy(reader, writer)
    writer.close()


class _DatagramEcho(asyncio.DatagramProtocol):
    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._transport.sendto(data, addr)


async def main() -> None:
    """Serve for ever."""
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("port", type=int)
    parser.add_argument("--echo", type=int)
    parser.add_argument("--cert")
    parser.add_argument("--key")
    given = parser.parse_args()
    context = None
    if given.cert:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(given.cert, given.key)
    server = await asyncio.start_server(Target(given.name).serve, LOOPBACK, given.port, ssl=context, backlog=1024)
    if given.echo:
        await asyncio.start_server(_echo, LOOPBACK, given.echo, backlog=1024)
        await asyncio.get_running_loop().create_datagram_endpoint(_DatagramEcho, local_addr=(LOOPBACK, given.echo))
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
