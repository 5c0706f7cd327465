"""The file of the access log: real files, pipes and a disk that blocks."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path
from typing import Any, cast

from twisted.internet import reactor
from twisted.internet.task import Clock, deferLater
from twisted.logger import LogEvent, globalLogPublisher
from twisted.trial.unittest import TestCase

from rtunnel.ops import access_file
from rtunnel.ops.access_file import AccessFile
from rtunnel.ops.start import StartError


class Timer(Clock):
    """A clock that a test moves; what other threads ask for happens in the real reactor."""

    def callFromThread(self, call: Any, *arguments: Any) -> None:
        cast(Any, reactor).callFromThread(call, *arguments)


class FileTestCase(TestCase):
    timeout = 20

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir(parents=True)
        self.path = self.folder / "access.log"
        self.clock = Timer()
        self.dropped = 0
        self.said: list[str] = []
        observer: Any = self.observe
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def observe(self, event: LogEvent) -> None:
        if event.get("log_namespace") == "rtunnel.ops.access_file":
            self.said.append(str(event["log_format"]))

    def drop(self, lines: int) -> None:
        self.dropped += lines

    def open(self, path: Path | str | None = None) -> AccessFile[str]:
        file: AccessFile[str] = AccessFile(str(path or self.path), line=str, dropped=self.drop, reactor=self.clock)
        file.startService()
        self.addCleanup(file.stopService)
        return file

    async def until(self, condition: Any) -> None:
        """Let the thread and the reactor do what they have to; the timeout of the test ends it."""
        while not condition():
            await deferLater(cast(Any, reactor), 0.005, lambda: None)

    def text(self) -> str:
        return self.path.read_text(encoding="utf-8") if self.path.exists() else ""


class WriteTests(FileTestCase):
    async def test_in_batches(self) -> None:
        file = self.open()
        for number in range(1000):
            file.write(f"{number}\n")
        self.assertEqual(self.text(), "")
        self.clock.advance(access_file.FLUSH)
        expected = "".join(f"{number}\n" for number in range(1000))
        await self.until(lambda: self.text() == expected)
        self.assertEqual(self.dropped, 0)

    def test_the_end_writes_what_is_left(self) -> None:
        file = self.open()
        file.write("last\n")
        file.stopService()
        self.assertEqual(self.text(), "last\n")

    def test_appends(self) -> None:
        self.path.write_text("before\n", encoding="utf-8")
        file = self.open()
        file.write("after\n")
        file.stopService()
        self.assertEqual(self.text(), "before\nafter\n")

    def test_nobody_else_may_read_it(self) -> None:
        self.open()
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode) & 0o007, 0)

    def test_cannot_be_opened(self) -> None:
        file = AccessFile(str(self.folder / "none" / "x"), line=str, dropped=self.drop, reactor=self.clock)
        error = self.assertRaises(StartError, file.startService)
        self.assertEqual(str(error), f"the access log cannot be written to {self.folder}/none/x: No such file or directory")
        file.stopService()

    def test_a_pipe_that_nobody_reads(self) -> None:
        os.mkfifo(self.path)
        file = AccessFile(str(self.path), line=str, dropped=self.drop, reactor=self.clock)
        self.assertIn("No such device or address", str(self.assertRaises(StartError, file.startService)))

    def test_stdout(self) -> None:
        """Into a pipe in pieces that no other line can come into."""
        reading, writing = os.pipe()
        self.addCleanup(os.close, reading)
        kept = os.dup(1)
        os.dup2(writing, 1)
        os.close(writing)
        try:
            file = self.open("-")
        finally:
            os.dup2(kept, 1)
            os.close(kept)
        lines = [f"{number} {'x' * 50}\n" for number in range(500)]
        for line in lines:
            file.write(line)
        file.stopService()
        self.assertEqual(os.read(reading, 1 << 20).decode(), "".join(lines))
        pieces = list(access_file._for_pipe("".join(lines).encode()))
        self.assertTrue(all(len(piece) <= access_file.PIPE and piece.endswith(b"\n") for piece in pieces))
        self.assertEqual(b"".join(pieces).decode(), "".join(lines))


class RotationTests(FileTestCase):
    async def test_moved_away(self) -> None:
        file = self.open()
        file.write("old\n")
        self.clock.advance(access_file.FLUSH)
        await self.until(lambda: self.text() == "old\n")
        self.path.rename(self.folder / "access.log.1")
        file.write("new\n")
        self.clock.advance(access_file.FLUSH)
        await self.until(lambda: self.text() == "new\n")
        self.assertEqual((self.folder / "access.log.1").read_text(), "old\n")

    async def test_cut_down(self) -> None:
        """As logrotate's copytruncate does it."""
        file = self.open()
        file.write("old\n")
        self.clock.advance(access_file.FLUSH)
        await self.until(lambda: self.text() == "old\n")
        os.truncate(self.path, 0)
        file.write("new\n")
        self.clock.advance(access_file.FLUSH)
        await self.until(lambda: self.text() == "new\n")


class TroubleTests(FileTestCase):
    async def test_a_disk_that_fails(self) -> None:
        """Lines are dropped and counted, the log says so once, and that it is over."""
        file = self.open()
        self.path.unlink()
        self.folder.rename(self.folder.with_suffix(".gone"))
        for _ in range(3):
            file.write("lost\n")
            file.write("lost\n")
            self.clock.advance(access_file.FLUSH)
        await self.until(lambda: self.dropped == 6)
        self.folder.mkdir()
        file.write("back\n")
        self.clock.advance(access_file.FLUSH)
        await self.until(lambda: len(self.said) == 2)
        self.assertEqual(self.text(), "back\n")
        self.assertEqual(self.said[0], "lines of the access log {path} are dropped: {problem}")
        self.assertEqual(self.said[1], "the access log is written again")

    async def test_a_disk_that_blocks(self) -> None:
        """What waits is bounded, and whoever writes never waits."""
        self.patch(access_file, "MAX_QUEUED", 1000)
        pipe = self.folder / "pipe"
        os.mkfifo(pipe)
        reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, reading)
        file = self.open(pipe)
        full = "x" * 200_000 + "\n"
        file.write(full)
        self.clock.advance(access_file.FLUSH)
        for _ in range(10):
            file.write("y" * 99 + "\n")
        self.clock.advance(access_file.FLUSH)
        self.assertEqual(self.dropped, 10)
        got = b""

        def drained() -> bool:
            nonlocal got
            with contextlib.suppress(BlockingIOError):
                got += os.read(reading, 65536)
            return len(got) == len(full)

        await self.until(drained)
        await self.until(lambda: file._waiting == 0)
        file.write("z\n")
        self.clock.advance(access_file.FLUSH)
        await self.until(lambda: os.read(reading, 10) == b"z\n" if file._waiting == 0 else False)
        self.assertEqual(self.dropped, 10)
