"""The shared registry as users write it."""

from __future__ import annotations

from tempfile import NamedTemporaryFile

from twisted.trial.unittest import SynchronousTestCase

from rtunnel.options import registries
from rtunnel.options.registries import PASSWORD, PASSWORD_FILE, REGISTRY
from rtunnel.settings import Address, RegistryAddress


class AddressTests(SynchronousTestCase):
    def assert_read(self, text: str, shown: str = "", **parts: object) -> None:
        parsed = REGISTRY.parse(text)
        self.assertEqual(parsed, RegistryAddress(**parts))  # type: ignore[arg-type]
        self.assertEqual(str(parsed), shown or text)
        self.assertEqual(REGISTRY.parse(str(parsed)), parsed)

    def test_tcp(self) -> None:
        self.assert_read("redis://cache", "redis://cache:6379", scheme="redis", hosts=(Address("cache", 6379),))
        self.assert_read("rediss://cache:7000/3", scheme="rediss", hosts=(Address("cache", 7000),), database=3)
        self.assert_read("redis://rt@[::1]:7000", scheme="redis", hosts=(Address("::1", 7000),), user="rt")
        self.assert_read("REDIS://[::1]/", "redis://[::1]:6379", scheme="redis", hosts=(Address("::1", 6379),))

    def test_unix(self) -> None:
        self.assert_read("unix:///run/redis.sock", scheme="unix", path="/run/redis.sock")
        self.assert_read("unix://rt@/run/redis.sock?db=2", scheme="unix", path="/run/redis.sock", user="rt", database=2)

    def test_sentinel(self) -> None:
        self.assert_read(
            "redis+sentinel://a,b:7000/main/2",
            "redis+sentinel://a:26379,b:7000/main/2",
            scheme="redis+sentinel",
            hosts=(Address("a", 26379), Address("b", 7000)),
            service="main",
            database=2,
        )
        self.assertTrue(REGISTRY.parse("rediss+sentinel://a/main").secure)

    def assert_refused(self, text: str, words: str) -> None:
        self.assertIn(words, str(self.assertRaises(ValueError, REGISTRY.parse, text)))

    def test_refused(self) -> None:
        self.assert_refused("cache:6379", "write redis://HOST")
        self.assert_refused("http://cache", "must be one of redis")
        self.assert_refused("redis://", "not a Redis")
        self.assert_refused("redis://cache/1/2", "not a Redis")
        self.assert_refused("redis://cache/main", "the database must be a number")
        self.assert_refused("redis://cache?db=1", "after a question mark")
        self.assert_refused("redis://a,b", "names several hosts")
        self.assert_refused("redis+sentinel://a,b", "does not name the master")
        self.assert_refused("unix://run/redis.sock", "needs an absolute path")
        self.assert_refused("unix:///run/redis.sock?timeout=1", "only db=NUMBER is known")

    def test_without_the_library(self) -> None:
        self.patch(registries, "find_spec", lambda name: None)
        self.assert_refused("redis://cache", 'pip install "rtunnel[redis]"')

    def test_a_password_is_refused_and_not_repeated(self) -> None:
        error = self.assertRaises(ValueError, REGISTRY.parse, "redis://:s3cret@cache")
        self.assertIn("--registry-password-file", str(error))
        self.assertNotIn("s3cret", str(error))


class PasswordTests(SynchronousTestCase):
    def test_password(self) -> None:
        self.assertEqual(PASSWORD.parse("s3 cret"), "s3 cret")
        for wrong in ("", "\n", "x" * 1025):
            self.assertRaises(ValueError, PASSWORD.parse, wrong)

    def read(self, content: bytes) -> str:
        with NamedTemporaryFile() as file:
            file.write(content)
            file.flush()
            password: str = PASSWORD_FILE.parse(file.name)
            return password

    def test_file(self) -> None:
        self.assertEqual(self.read(b"s3cret\n"), "s3cret")
        for content, words in (
            (b"", "one line"),
            (b"a\nb\n", "one line"),
            (b"\xff\xff", "not a text file"),
            (b"x" * 1026, "it must be"),
        ):
            self.assertIn(words, str(self.assertRaises(ValueError, self.read, content)))
        self.assertIn("No such file", str(self.assertRaises(ValueError, PASSWORD_FILE.parse, "/nowhere/at/all")))
