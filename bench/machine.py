"""The machine and the software, described without saying whose machine it is."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path

from bench import nginx
from bench.systems.base import first_line

_LIBRARIES = ("twisted", "autobahn", "httptools", "websockets", "cryptography")


def describe() -> dict[str, str]:
    """Processor, memory, kernel, Python, libraries and the tools that measure."""
    facts = {
        "processor": _processor(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / (1 << 30):.0f} GiB",
        "kernel": f"Linux {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
    }
    facts |= {library: version for library in _LIBRARIES if (version := _version(library))}
    facts["nginx"] = first_line([nginx.binary(), "-v"]).rpartition("/")[2]
    facts["wrk"] = first_line(["wrk", "-v"]).removeprefix("wrk ").partition(" Copyright")[0]
    facts["curl"] = first_line(["curl", "--version"]).split()[1]
    return facts


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _version(library: str) -> str | None:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return None
