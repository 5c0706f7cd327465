"""What :mod:`bench.reach` connects to: ``python -m bench.reach_target PORT`` answers a byte with it, a number with so many.

A negative number is how many it takes before it answers with one.
"""

from __future__ import annotations

import asyncio
import sys

__all__ = ["BLOCK"]

BLOCK = b"x" * (1 << 18)


class Target(asyncio.Protocol):
    """One connection: ``x`` is sent back; ``N`` and a line end are answered with N bytes and the end, ``-N`` with one after N."""

    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._left = 0
        self._awaited = 0

    def data_received(self, data: bytes) -> None:
        if self._awaited:
            self._take(len(data))
        elif data[:1] == b"x":
            self.transport.write(data)
        else:
            number, _, rest = data.partition(b"\n")
            self._left, self._awaited = max(int(number), 0), max(-int(number), 0)
            if self._awaited:
                self._take(len(rest))
            else:
                self._send()

    def _take(self, size: int) -> None:
        self._awaited -= size
        if not self._awaited:
            self.transport.write(b"x")
            self.transport.close()

    def _send(self) -> None:
        while self._left and not self.transport.is_closing() and self.transport.get_write_buffer_size() < 4 * len(BLOCK):
            size = min(self._left, len(BLOCK))
            self._left -= size
            self.transport.write(BLOCK[:size])
        if not self._left:
            self.transport.close()

    def pause_writing(self) -> None:
        """It goes on when there is room."""

    def resume_writing(self) -> None:
        self._send()


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Target, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
