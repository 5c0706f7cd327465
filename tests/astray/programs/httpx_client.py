"""Reads requests, one a line of JSON, sends them over five connections, and prints what came of each."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

import httpx


async def send(client: httpx.AsyncClient, asked: dict[str, Any], host: str) -> dict[str, Any]:
    """One request, and what came of it."""
    start = time.time()
    fields = [("Host", host), *map(tuple, asked["fields"])]
    content = b"x" if asked["method"].startswith("P") else None
    try:
        answer = await client.request(asked["method"], asked["path"], headers=fields, content=content)
        status, name = answer.status_code, answer.headers.get("x-name", "")
    except httpx.HTTPError as error:
        status, name = 0, repr(error)
    return {"n": asked["n"], "start": start, "end": time.time(), "status": status, "name": name}


async def main(url: str, host: str) -> None:
    """Five workers."""
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    turn = asyncio.Lock()

    async def next_line() -> bytes:
        async with turn:
            return await lines.readline()

    async def work(client: httpx.AsyncClient) -> None:
        while line := await next_line():
            print(json.dumps(await send(client, json.loads(line), host)), flush=True)

    limits = httpx.Limits(max_connections=5, max_keepalive_connections=5)
    async with httpx.AsyncClient(base_url=url, limits=limits, timeout=60) as client:
        await asyncio.gather(*(work(client) for _ in range(5)))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
