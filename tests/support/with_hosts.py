"""``python -m tests.support.with_hosts FILE rtunnel-arguments``: rtunnel, with names of a file that may change at any time.

The file has lines like those of /etc/hosts; a name in several lines has several addresses. It stands in for the DNS of a headless
Service. All other names are the system's.
"""

from __future__ import annotations

import runpy
import socket
import sys
from pathlib import Path
from typing import Any


def main(file: Path, arguments: list[str]) -> None:
    """Run rtunnel."""
    system = socket.getaddrinfo

    def look_up(host: Any, port: Any, *rest: Any, **options: Any) -> Any:
        lines = [line.split() for line in file.read_text(encoding="ascii").splitlines()]
        addresses = [address for address, *names in lines if host in names]
        if not addresses:
            return system(host, port, *rest, **options)
        return [found for address in addresses for found in system(address, port, *rest, **options)]

    socket.getaddrinfo = look_up
    sys.argv = ["rtunnel", *arguments]
    runpy.run_module("rtunnel", run_name="__main__")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
