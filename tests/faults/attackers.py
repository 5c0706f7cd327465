"""Strangers, as small programs: ``python -m tests.faults.attackers NAME --entrypoint PORT --listen PORT --seconds N``.

Each sends for so many seconds and comes back a second after it was cut off, as a bot does. All come from an address of their own,
except where that of the others is the point.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import struct
from asyncio import StreamReader, StreamWriter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from uuid import UUID

from attrs import frozen

from rtunnel.transport.websocket import CLIENT_KEY
from rtunnel.wire.relay import Command, Request, Status, TunnelFeature, take_response
from tests.support.processes import LOOPBACK

__all__ = ["ATTACKERS", "Aim", "log_in"]

STRANGER = "127.0.0.66"
PAUSE = 1.0
"""Seconds until an attacker that was cut off comes back."""
MIB = 1 << 20
HOST = b"nginx.local"


@frozen
class Aim:
    """Where an attacker goes.

    :param entrypoint: the port of visitors.
    :param listen: the port of clients, a WebSocket at ``/proxy``.
    :param tunnel: one that a client may join.
    :param auth: user and password of one.
    :param source: the attacker's address.
    :param key: by which a client is known again.
    """

    entrypoint: int
    listen: int
    tunnel: UUID
    auth: tuple[str, str] | None = None
    source: str = STRANGER
    key: str = ""

    async def visitor(self, source: str = "") -> tuple[StreamReader, StreamWriter]:
        """Connect as a visitor.

        :param source: another address.
        """
        return await asyncio.open_connection(LOOPBACK, self.entrypoint, local_addr=(source or self.source, 0))

    async def websocket(self) -> tuple[StreamReader, StreamWriter]:
        """Connect as a client, as far as the upgrade."""
        reader, writer = await asyncio.open_connection(LOOPBACK, self.listen, local_addr=(self.source, 0))
        key = f"{CLIENT_KEY}: {self.key}\r\n" if self.key else ""
        writer.write(
            b"GET /proxy HTTP/1.1\r\nHost: nginx.local\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" + key.encode() + b"\r\n"
        )
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            if b" 101 " not in head.partition(b"\r\n")[0]:
                raise EOFError
        except BaseException:
            writer.close()
            raise
        return reader, writer


def frame(data: bytes, opcode: int = 2) -> bytes:
    """A frame of a WebSocket, masked with zeros."""
    size = len(data)
    length = bytes((0x80 | size,)) if size < 126 else b"\xfe" + struct.pack(">H", size)
    return bytes((0x80 | opcode,)) + length + bytes(4) + data


def smux(command: int, stream: int, data: bytes = b"") -> bytes:
    """A frame of smux."""
    return struct.pack("<BBHI", 2, command, len(data), stream) + data


async def bind(aim: Aim, auth: tuple[str, str] | None) -> tuple[Status, StreamReader, StreamWriter]:
    """Join the tunnel; returns what the server answered and the connection."""
    reader, writer = await aim.websocket()
    try:
        request = Request(Command.BIND, credentials=auth, tunnel=TunnelFeature(aim.tunnel, weight=1))
        writer.write(frame(request.encode()))
        data = b""
        while True:
            first, size = await reader.readexactly(2)
            size = struct.unpack(">H", await reader.readexactly(2))[0] if size == 126 else size
            payload = await reader.readexactly(size)
            data += payload if first & 15 == 2 else b""
            if taken := take_response(data):
                return taken[0].status, reader, writer
            if first & 15 == 8:
                raise EOFError
    except BaseException:
        writer.close()
        raise


async def log_in(aim: Aim) -> str:
    """Join the tunnel and leave it again; returns what the server answered."""
    try:
        async with asyncio.timeout(5):
            status, _, writer = await bind(aim, aim.auth)
            writer.close()
            return "ok" if status is Status.OK else status.name.lower()
    except TimeoutError:
        return "timeout"
    except (OSError, EOFError):
        return "cut"


async def again(act: Callable[[], Awaitable[None]]) -> None:
    """Do it, and once more after :data:`PAUSE` each time that it ends."""
    while True:
        with suppress(OSError, EOFError):
            await act()
        await asyncio.sleep(PAUSE)


async def crowd(number: int, act: Callable[[], Awaitable[None]]) -> None:
    """So many of them at once."""
    await asyncio.gather(*(again(act) for _ in range(number)))


async def flood(writer: StreamWriter, data: bytes) -> None:
    """Send it as fast as it is taken, and read nothing."""
    while not writer.is_closing():
        writer.write(data)
        await writer.drain()
        # a turn for the others even if nothing has to wait
        await asyncio.sleep(0)


def deaf(reader: StreamReader, writer: StreamWriter) -> None:
    """Take nothing that comes, beyond what is there."""
    writer.transport.pause_reading()  # type: ignore[attr-defined]


# -- the attacks


async def text_frames(aim: Aim) -> None:
    """Text frames of 16 MiB before anything was said."""

    async def act() -> None:
        _, writer = await aim.websocket()
        try:
            writer.write(b"\x81\xff" + struct.pack(">Q", 16 * MIB) + bytes(4))
            for _ in range(16 * 16):
                writer.write(bytes(MIB // 16))
                await writer.drain()
            await asyncio.sleep(60)
        finally:
            writer.close()

    await crowd(70, act)


async def pipelined(aim: Aim) -> None:
    """Requests for a host that nobody has, as many as go, and no answer read."""
    block = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 1000

    async def act() -> None:
        reader, writer = await aim.visitor()
        deaf(reader, writer)
        try:
            await flood(writer, block)
        finally:
            writer.close()

    await crowd(4, act)


async def many_hosts(aim: Aim) -> None:
    """A request for another host each time, under a wildcard rule: 200 a second."""
    number = 0

    async def act() -> None:
        nonlocal number
        reader, writer = await aim.visitor()
        try:
            while True:
                number += 1
                writer.write(b"GET / HTTP/1.1\r\nHost: h%d.wild.local\r\n\r\n" % number)
                head = await reader.readuntil(b"\r\n\r\n")
                (size,) = (line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
                await reader.readexactly(int(size))
                await asyncio.sleep(0.05)
        finally:
            writer.close()

    await crowd(10, act)


async def guesses(aim: Aim) -> None:
    """Wrong passwords, from the same address as everybody's."""

    async def act() -> None:
        _, _, writer = await bind(aim, ("user", f"guess{random.random()}"))
        writer.close()

    # the answers to wrong ones wait, so as many are under way
    await crowd(64, act)


async def readers(aim: Aim, fields: bytes = b"") -> None:
    """Large answers that are not read."""

    async def act() -> None:
        reader, writer = await aim.visitor()
        try:
            deaf(reader, writer)
            writer.write(b"GET /down/100000000 HTTP/1.1\r\nHost: %s\r\n%s\r\n" % (HOST, fields))
            await asyncio.sleep(60)
        finally:
            writer.close()

    await crowd(20, act)


async def closing_readers(aim: Aim) -> None:
    """The same with ``Connection: close``."""
    await readers(aim, b"Connection: close\r\n")


async def pings(aim: Aim) -> None:
    """Pings of a WebSocket that has not logged in, and no pong read."""
    block = frame(bytes(125), 9) * 500

    async def act() -> None:
        reader, writer = await aim.websocket()
        deaf(reader, writer)
        try:
            await flood(writer, block)
        finally:
            writer.close()

    await crowd(4, act)


async def syns(aim: Aim) -> None:
    """A client that has joined opens streams, with numbers that are the server's to give, and reads nothing."""

    async def act() -> None:
        _, reader, writer = await bind(aim, aim.auth)
        deaf(reader, writer)
        try:
            number = 1
            while not writer.is_closing():
                writer.write(frame(b"".join(smux(0, number + 2 * each) for each in range(4000))))
                number += 8000
                await writer.drain()
                await asyncio.sleep(0)
        finally:
            writer.close()

    await crowd(2, act)


async def connections(aim: Aim, addresses: int = 1) -> None:
    """Connections that are opened and held, more than the server has descriptors."""

    def act(number: int) -> Callable[[], Awaitable[None]]:
        async def hold() -> None:
            reader, writer = await aim.visitor(f"127.0.1.{1 + number % addresses}")
            try:
                await reader.read()
            finally:
                writer.close()

        return hold

    await asyncio.gather(*(again(act(number)) for number in range(400)))


async def spread_connections(aim: Aim) -> None:
    """The same from twenty addresses."""
    await connections(aim, 20)


async def upgrades(aim: Aim) -> None:
    """Requests to upgrade at a service that does not answer: 60 a second, all of them left open."""

    async def act() -> None:
        reader, writer = await aim.visitor()
        try:
            writer.write(b"GET /hang HTTP/1.1\r\nHost: %s\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n" % HOST)
            await reader.read()
        finally:
            writer.close()

    async with asyncio.TaskGroup() as group:
        while True:
            group.create_task(again(act))
            await asyncio.sleep(1 / 60)


async def deaf_connector(aim: Aim) -> None:
    """A client that has joined and does not read, and visitors that upload to it, leave and come again."""

    async def join() -> None:
        _, reader, writer = await bind(aim, aim.auth)
        deaf(reader, writer)
        try:
            await asyncio.sleep(60)
        finally:
            writer.close()

    async def upload() -> None:
        while True:
            reader, writer = await aim.visitor()
            try:
                writer.write(b"POST / HTTP/1.1\r\nHost: sink.local\r\nContent-Length: 100000000\r\n\r\n" + bytes(MIB // 2))
                with suppress(TimeoutError):
                    async with asyncio.timeout(0.3):
                        # an answer of the server's own ends it
                        await reader.read(1)
            finally:
                writer.transport.abort()

    await asyncio.gather(again(join), crowd(50, upload))


async def slow(aim: Aim) -> None:
    """Five hundred connections that send a byte a second."""

    async def act() -> None:
        _, writer = await aim.visitor()
        try:
            for byte in b"GET / HTTP/1.1\r\nHost: nginx.local\r\nX-Slow: " + b"x" * 1000:
                writer.write(bytes((byte,)))
                await writer.drain()
                await asyncio.sleep(1)
        finally:
            writer.close()

    await crowd(500, act)


HOSTILE = (
    b"\x00" * 64,
    b"\xff" * 4096,
    b"\x16\x03\x01\x40\x00" + b"\x01" * 16384,
    b"\x01\x01\xff\xff" + b"\x00" * 70000,
    b"PROXY TCP4 1.2.3.4 5.6.7.8 99999 -1\r\n",
    b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 5000 + b"\r\n",
    b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\n\r\n",
    b"GET / HTTP/9.9\r\nHost: nginx.local\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: nginx.local\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    b"POST / HTTP/1.1\r\nHost: nginx.local\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
    b"POST / HTTP/1.1\r\nHost: nginx.local\r\nTransfer-Encoding: chunked\r\n\r\n5;" + b"x" * 100_000,
    b"GET / HTTP/1.1\r\nHost: nginx.local\r\nHost: other.local\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET /proxy HTTP/1.1\r\nHost: nginx.local\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: x\r\n\r\n",
)
"""Beginnings of connections that no honest peer sends."""


async def hostile(aim: Aim) -> None:
    """Six hundred hostile inputs, at both ports: each of :data:`HOSTILE` as it is, cut off, and with random bytes in it."""
    chance = random.Random(1)

    async def send(port: int, data: bytes) -> None:
        with suppress(OSError, EOFError, TimeoutError):
            async with asyncio.timeout(2):
                reader, writer = await asyncio.open_connection(LOOPBACK, port, local_addr=(aim.source, 0))
                try:
                    writer.write(data)
                    await writer.drain()
                    writer.write_eof()
                    await reader.read()
                finally:
                    writer.close()

    for number in range(300):
        data = bytearray(HOSTILE[number % len(HOSTILE)])
        for _ in range(number // len(HOSTILE)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        sent = bytes(data[: len(data) if number % 3 else chance.randrange(len(data))])
        await asyncio.gather(send(aim.entrypoint, sent), send(aim.listen, sent))


ATTACKERS = {
    each.__name__.replace("_", "-"): each
    for each in (
        text_frames,
        pipelined,
        many_hosts,
        guesses,
        readers,
        closing_readers,
        pings,
        syns,
        connections,
        spread_connections,
        upgrades,
        deaf_connector,
        slow,
        hostile,
    )
}


async def main() -> None:
    """Attack for so many seconds; the open connections end with the process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("attack", choices=ATTACKERS)
    parser.add_argument("--entrypoint", type=int, required=True)
    parser.add_argument("--listen", type=int, required=True)
    parser.add_argument("--tunnel", type=UUID, required=True)
    parser.add_argument("--source", default=STRANGER)
    parser.add_argument("--seconds", type=float, default=8)
    given = parser.parse_args()
    auth = tuple(os.environ["RTUNNEL_AUTH"].split(":", 1))
    aim = Aim(given.entrypoint, given.listen, given.tunnel, auth, given.source)  # type: ignore[arg-type]
    with suppress(TimeoutError):
        async with asyncio.timeout(given.seconds):
            await ATTACKERS[given.attack](aim)


if __name__ == "__main__":
    asyncio.run(main())
