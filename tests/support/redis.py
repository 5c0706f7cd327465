"""A real redis-server of a test: on a unix socket and a port of loopback, with its files in a directory of its own."""

from __future__ import annotations

import os
import signal
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from rtunnel.settings import Address, RegistryAddress, RegistrySettings
from tests.support.processes import LOOPBACK, Process, free_port, needed, wait_until

__all__ = ["RedisServer", "Sentinel"]


class Sentinel:
    """A Sentinel that watches one Redis and promotes its replica when it is gone.

    :param name: by which it is known.
    """

    def __init__(self, name: str, primary: RedisServer) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="rtunnel-sentinel-")
        self.port = free_port()
        configuration = Path(self._directory.name) / "sentinel.conf"
        configuration.write_text(
            f"port {self.port}\nbind {LOOPBACK}\ndir {self._directory.name}\n"
            f"sentinel monitor {name} {LOOPBACK} {primary.port} 1\n"
            f"sentinel down-after-milliseconds {name} 1000\nsentinel failover-timeout {name} 5000\n"
        )
        self.process = Process([needed("redis-server"), str(configuration), "--sentinel"])
        wait_until(self._knows_the_replica, f"sentinel\n{self.process.output}")

    def _knows_the_replica(self) -> bool:
        return "+slave slave" in self.process.output

    def close(self) -> None:
        """End it."""
        self.process.stop()
        self._directory.cleanup()


class RedisServer:
    """The server, from the moment in which it answers until :meth:`close`.

    :param options: arguments, e.g. ``--requirepass secret``.
    :param password: for the test's own commands.
    """

    def __init__(self, *options: str, password: str | None = None) -> None:
        self._binary = needed("redis-server")
        self._options = options
        self._password = password
        self._directory = tempfile.TemporaryDirectory(prefix="rtunnel-redis-")
        self.socket = str(Path(self._directory.name) / "redis.sock")
        self.port = free_port()
        self.start()

    def start(self, *more: str) -> None:
        """Start it, once more after :meth:`kill`, without what it had."""
        self.process = Process(
            [
                self._binary,
                *("--port", str(self.port), "--bind", LOOPBACK, "--unixsocket", self.socket),
                *("--dir", self._directory.name, "--save", "", "--appendonly", "no", "--loglevel", "notice"),
                *self._options,
                *more,
            ]
        )
        wait_until(self._answers, f"redis-server\n{self.process.output}")

    def _answers(self) -> bool:
        with suppress(RedisError), self.client() as client:
            return bool(client.ping())
        return False

    def client(self, **more: Any) -> Redis:
        """A client for the test's own commands."""
        return Redis(unix_socket_path=self.socket, password=self._password, protocol=2, **more)

    def call(self, *command: Any) -> Any:
        """One command."""
        with self.client() as client:
            return client.execute_command(*command)

    def settings(self, scheme: str = "unix", **more: Any) -> RegistrySettings:
        """The settings of a server that shares what it knows here."""
        of_address = {name: more.pop(name) for name in ("database", "user") if name in more}
        if scheme == "unix":
            return RegistrySettings(address=RegistryAddress(scheme="unix", path=self.socket, **of_address), **more)
        return RegistrySettings(address=RegistryAddress(scheme=scheme, hosts=(Address(LOOPBACK, self.port),), **of_address), **more)

    def follow(self, other: RedisServer) -> None:
        """Become a replica of another one, and wait until it has what that one has."""
        self.call("REPLICAOF", LOOPBACK, str(other.port))
        wait_until(lambda: b"master_link_status:up" in self._info(), "the replica follows")

    @property
    def is_primary(self) -> bool:
        """Whether it takes writes."""
        return b"role:master" in self._info()

    def _info(self) -> bytes:
        with self.client() as client:
            client.set_response_callback("INFO", bytes)
            return bytes(client.execute_command("INFO", "replication"))

    def pause(self) -> None:
        """It does nothing any more."""
        self.process.send(signal.SIGSTOP)

    def resume(self) -> None:
        """It goes on."""
        self.process.send(signal.SIGCONT)

    def kill(self) -> None:
        """It is gone, with all that it had."""
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.process.stop()
        with suppress(FileNotFoundError):
            os.unlink(self.socket)

    def close(self) -> None:
        """End it."""
        with suppress(ProcessLookupError):
            self.resume()
        self.process.stop()
        self._directory.cleanup()
