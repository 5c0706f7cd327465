"""The local service behind every tunnel: two nginx (for two connectors) and one echo server, for WebSockets and datagrams."""

from __future__ import annotations

import http.client
import os
import re
import sys
from pathlib import Path

from bench import load, nginx
from bench.proc import LOOPBACK, BenchError
from bench.stage import SERVER, Stage

#: What ``down`` and ``up`` transfer.
BULK_BYTES = 256 << 20

#: Memory for a bulk body is kept and in large pages, so that nginx spends its time reading and not on page faults.
_ROOMY = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(8 * BULK_BYTES),
    "MALLOC_TOP_PAD_": str(BULK_BYTES + (32 << 20)),
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}


class Service:
    """The targets of all systems, started once for a whole run.

    :param stage: owns the processes.
    """

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        nginx.write_files(stage.directory, BULK_BYTES)
        self.ports = (self._nginx("first"), self._nginx("second"))
        self.echo_port = stage.port()
        stage.start(SERVER, [sys.executable, "-m", "bench.echo", str(self.echo_port)], project_environment())
        stage.wait_listening(*self.ports, self.echo_port)
        for port in self.ports:
            stage.wait_answer(port)
        # The first body fetches the memory, the first download the file: neither is any system's business.
        load.upload(self.ports[0], "/sink/0", self.bulk_file)
        load.download(self.ports[0], "/bulk/0", BULK_BYTES)

    @property
    def bulk_file(self) -> Path:
        """A file of :data:`BULK_BYTES` to send."""
        return self._stage.directory / "files" / "bulk.bin"

    def requests(self) -> tuple[int, ...]:
        """How many requests each nginx has answered so far (``stub_status``)."""
        return tuple(_requests(port) for port in self.ports)

    def _nginx(self, name: str) -> int:
        port = self._stage.port()
        config = self._stage.write(f"{name}.conf", nginx.service_config(port, BULK_BYTES).replace("nginx.pid", name))
        self._stage.start(SERVER, nginx.command(config), _ROOMY)
        return port


def _requests(port: int) -> int:
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=5)
    try:
        connection.request("GET", "/status")
        text = connection.getresponse().read().decode("ascii")
    finally:
        connection.close()
    counts = re.search(r"^ (\d+) (\d+) (\d+)", text, re.MULTILINE)
    if counts is None:
        raise BenchError("nginx gave no status")
    return int(counts[3])


def project_environment(packages: Path | None = None) -> dict[str, str]:
    """Variables with which a Python child finds this project, installed or not.

    :param packages: a folder with its packages, instead of its sources.
    """
    root = Path(__file__).resolve().parent.parent
    paths = [str(packages or root / "src"), str(root), os.environ.get("PYTHONPATH", "")]
    return {"PYTHONPATH": os.pathsep.join(path for path in paths if path), "PYTHONDONTWRITEBYTECODE": "1"}
