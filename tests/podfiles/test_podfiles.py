"""Volumes are read without leaving them, whole, and copied in one step; what strangers send leads nowhere else."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path
from threading import Event, Thread

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.podfiles.copying import copy_volumes
from rtunnel.podfiles.reading import ReadingError, read_volume
from rtunnel.podfiles.volumes import MAX_FILE, MAX_FILES, PodFile, Volume, VolumesError, read_volumes, write_volumes


class _Folder(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir(parents=True)

    def swap(self, root: Path, number: int, **files: str) -> None:
        """Update a volume as the kubelet does."""
        root.mkdir(exist_ok=True)
        data = root / f"..2026_{number}"
        data.mkdir()
        for name, text in files.items():
            (data / name).write_text(text)
            if not (root / name).is_symlink():
                os.symlink(f"..data/{name}", root / name)
        os.symlink(data.name, root / "..data_tmp")
        os.replace(root / "..data_tmp", root / "..data")
        if number:
            shutil.rmtree(root / f"..2026_{number - 1}", ignore_errors=True)


class ReadingTests(_Folder):
    def read(self, root: Path | None = None) -> Volume:
        return read_volume("/config", str(root or self.folder))

    def contents(self) -> dict[str, bytes | None]:
        return {file.path: file.content for file in self.read().files}

    def test_plain(self) -> None:
        (self.folder / "a").write_text("1")
        (self.folder / "b").mkdir()
        (self.folder / "b" / "c").write_bytes(b"\xff\0")
        self.assertEqual(self.contents(), {"a": b"1", "b/c": b"\xff\0"})

    def test_a_configmap(self) -> None:
        """The files of one moment, by their own names."""
        self.swap(self.folder, 1, a="1", b="1")
        first = self.read()
        self.assertEqual(self.contents(), {"a": b"1", "b": b"1"})
        self.swap(self.folder, 2, a="2", b="2")
        self.assertEqual(self.contents(), {"a": b"2", "b": b"2"})
        self.assertNotEqual(self.read().revision, first.revision)
        self.assertEqual(self.read().revision, self.read().revision)

    def test_never_a_mix(self) -> None:
        """While it is swapped again and again."""
        root = self.folder / "volume"
        self.swap(root, 0, **{f"f{name}": "0" for name in range(20)})
        stop = Event()

        def swapping() -> None:
            number = 1
            while not stop.wait(0.002):
                self.swap(root, number, **{f"f{name}": str(number) for name in range(20)})
                number += 1

        thread = Thread(target=swapping)
        thread.start()
        try:
            for _ in range(50):
                volume = read_volume("/config", str(root))
                self.assertEqual((len({file.content for file in volume.files}), len(volume.files), volume.left_out), (1, 20, ()))
        finally:
            stop.set()
            thread.join()

    def test_links_are_not_followed(self) -> None:
        """Neither out of the volume nor within it; nor does ``..data`` lead out."""
        outside = self.folder / "outside"
        outside.mkdir()
        (outside / "passwd").write_text("root")
        root = self.folder / "volume"
        root.mkdir()
        os.symlink("/etc/passwd", root / "absolute")
        os.symlink("../outside/passwd", root / "relative")
        os.symlink("../outside", root / "directory")
        (root / "own").write_text("1")
        volume = self.read(root)
        self.assertEqual([file.path for file in volume.files], ["own"])
        self.assertEqual(volume.left_out, ("absolute", "directory", "relative"))
        for target in ("../outside", "/etc", ".."):
            (root / "..data").unlink(missing_ok=True)
            os.symlink(target, root / "..data")
            self.assertEqual([file.path for file in self.read(root).files], ["own"])
        (root / "..data").unlink()
        os.symlink("..inner", root / "..data")
        os.symlink("../outside", root / "..inner")
        self.assertRaises(ReadingError, self.read, root)

    def test_other_kinds(self) -> None:
        """Nothing waits for a writer, and nothing else than files is read."""
        os.mkfifo(self.folder / "fifo")
        os.mknod(self.folder / "socket", stat.S_IFSOCK | 0o600)
        (self.folder / "large").write_bytes(b"x" * (MAX_FILE + 1))
        volume = self.read()
        self.assertEqual((volume.files, volume.left_out), ((), ("fifo", "large", "socket")))

    def test_bounds(self) -> None:
        for number in range(5):
            (self.folder / f"a{number}").write_bytes(b"x" * MAX_FILE)
        self.assertIn("larger than", str(self.assertRaises(ReadingError, self.read)))
        self.assertIn("No such file", str(self.assertRaises(ReadingError, read_volume, "/a", str(self.folder / "none"))))
        many = self.folder / "many"
        many.mkdir()
        for number in range(MAX_FILES + 1):
            (many / str(number)).touch()
        self.assertIn("more than", str(self.assertRaises(ReadingError, self.read, many)))
        deep = self.folder / "deep"
        deep.joinpath(*"abcdefghijklmn").mkdir(parents=True)
        self.assertEqual(self.read(deep).left_out, ("a/b/c/d/e/f/g/h/i",))

    def test_names_that_cannot_be_sent(self) -> None:
        (self.folder / os.fsdecode(b"\xe9")).write_text("1")
        self.assertEqual(self.contents(), {})

    def test_names_only(self) -> None:
        (self.folder / "a").write_text("12")
        (file,) = read_volume("/config", str(self.folder), contents=False).files
        self.assertEqual((file.size, file.content), (2, None))


NAMES = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=5)
PATHS = st.lists(NAMES, min_size=1, max_size=3)


class DocumentTests(SynchronousTestCase):
    @given(st.dictionaries(PATHS.map("/".join), st.binary(max_size=20), max_size=4))
    def test_round_trip(self, files: dict[str, bytes]) -> None:
        """Or it is refused, because a path leads out."""
        volume = Volume("/a", "1", tuple(PodFile(path, len(content), 0o600, content) for path, content in files.items()), ("x",))
        bad = [part for path in files for part in path.split("/") if part.startswith("..") or part == "."]
        if bad:
            self.assertRaises(VolumesError, read_volumes, write_volumes([volume]))
        else:
            self.assertEqual(read_volumes(write_volumes([volume])), [volume])

    def test_hostile_paths(self) -> None:
        for path in ("", "/etc/passwd", "../a", "a/../b", "a//b", "a/", "..data", ".", "a/./b", "a\0b", "..2026/a"):
            data = write_volumes([Volume("/a", "1", (PodFile(path, 0, 0o600, b""),))])
            self.assertRaises(VolumesError, read_volumes, data)
        for root in ("", "a", "/", "/a/../b", "/a/", "//a", "/.", "/a\0"):
            self.assertRaises(VolumesError, read_volumes, write_volumes([Volume(root, "1")]))

    def test_malformed(self) -> None:
        file = b'{"path": "a", "size": %b, "mode": %b, "content": "%b"}'
        volume = b'{"pod_files_version": 1, "volumes": [{"path": "/a", "revision": "1", "left_out": [], "files": [%b]}]}'
        self.assertEqual(len(read_volumes(volume % (file % (b"1", b"384", b"eA==")))[0].files), 1)
        many = [file.replace(b'"a"', b'"%d"' % number) % (b"1", b"384", b"eA==") for number in range(MAX_FILES + 1)]
        for data in (
            b"",
            b"[]",
            b"[" * 100_000,
            b'{"pod_files_version": 2}',
            b'{"pod_files_version": 1, "volumes": [1]}',
            volume % (file % (b"2", b"384", b"eA==")),
            volume % (file % (b"true", b"384", b"eA==")),
            volume % (file % (b"1", b"4095", b"eA==")),
            volume % (file % (b"1", b"384", b"e")),
            volume % (file % (b"-1", b"384", b"")),
            volume % b", ".join([file % (b"1", b"384", b"eA==")] * 2),
            volume % b", ".join(many),
            b" " * (9 << 20),
        ):
            self.assertRaises(VolumesError, read_volumes, data)


class CopyingTests(_Folder):
    def volume(self, revision: str, **files: str) -> Volume:
        return Volume("/etc/app", revision, tuple(PodFile(path, len(text), 0o644, text.encode()) for path, text in files.items()))

    def copied(self) -> dict[str, str]:
        where = self.folder / "etc" / "app"
        return {path.name: path.read_text() for path in where.iterdir() if not path.name.startswith("..")}

    def test_swapped(self) -> None:
        """All at once, with what is gone removed; nothing is left of what was before."""
        copy_volumes(self.folder, [self.volume("1", a="1", b="1")])
        self.assertEqual(self.copied(), {"a": "1", "b": "1"})
        copy_volumes(self.folder, [self.volume("2", a="2", c="2")])
        self.assertEqual(self.copied(), {"a": "2", "c": "2"})
        names = sorted(os.listdir(self.folder / "etc" / "app"))
        self.assertEqual((len(names), names[0][:2], names[1:]), (4, "..", ["..data", "a", "c"]))

    def test_private(self) -> None:
        copy_volumes(self.folder / "new", [self.volume("1", a="1")])
        self.assertEqual(stat.S_IMODE((self.folder / "new").stat().st_mode), 0o700)
        self.assertEqual(stat.S_IMODE((self.folder / "new" / "etc" / "app" / "a").stat().st_mode), 0o600)

    def test_files_of_others(self) -> None:
        """What is there already is not written over."""
        (self.folder / "etc" / "app").mkdir(parents=True)
        (self.folder / "etc" / "app" / "a").write_text("mine")
        self.assertRaises(OSError, copy_volumes, self.folder, [self.volume("1", a="1")])
        self.assertEqual(self.copied()["a"], "mine")

    def test_directories(self) -> None:
        copy_volumes(self.folder, [Volume("/c", "1", (PodFile("a/b", 1, 0o755, b"x"),))])
        copied = self.folder / "c" / "a" / "b"
        self.assertEqual((copied.read_text(), stat.S_IMODE(copied.stat().st_mode)), ("x", 0o700))
