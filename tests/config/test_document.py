"""YAML text as a tree with line numbers, and its errors."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.config.document import MAX_DEPTH, MAX_SIZE, Items, Keys, Node, Text, load, read
from rtunnel.settings import SettingsError


def plain(node: Node | None) -> object:
    """A tree as Python's own values, without lines."""
    if isinstance(node, Items):
        return [plain(item) for item in node.items]
    if isinstance(node, Keys):
        return {key.text: plain(value) for key, value in node.entries}
    return None if node is None else node.text


class LoadTests(SynchronousTestCase):
    def test_values_stay_texts(self) -> None:
        """Not converted as YAML 1.1 would: off, a number in base 60, a date."""
        text = "a: off\nb: 12:30\nc: 2026-01-01\nd: 0o17\ne: :80\nf: '[::1]:80'\n"
        expected = {"a": "off", "b": "12:30", "c": "2026-01-01", "d": "0o17", "e": ":80", "f": "[::1]:80"}
        self.assertEqual(plain(load("f", text)), expected)

    def test_lines(self) -> None:
        tree = load("f", "# x\na:\n  - b\n  - c: d\n")
        assert isinstance(tree, Keys)
        ((key, items),) = tree.entries
        assert isinstance(items, Items)
        self.assertEqual((key.line, [item.line for item in items.items]), (2, [3, 4]))

    def test_nothing(self) -> None:
        for text in ("", "# only words\n", "---\n", "~\n"):
            self.assertIsNone(load("f", text), text)

    def test_empty_values(self) -> None:
        tree = load("f", "a:\nb: ~\nc: null\nd: ''\ne: 'null'\n")
        assert isinstance(tree, Keys)
        empty = [isinstance(value, Text) and value.empty for _, value in tree.entries]
        self.assertEqual(empty, [True, True, True, False, False])


class RefusalTests(SynchronousTestCase):
    def test_lines(self) -> None:
        for text, start, words in [
            ("a: 1\nb: 2\na: 3\n", "f:3: a: ", "duplicate key, first in line 1; keep one of them"),
            ("a: &x 1\nb: *x\n", "f:1: ", "anchors and aliases"),
            ("a: 1\nb: *x\n", "f:2: ", "anchors and aliases"),
            (
                "*.example.org: b\n",
                "f:1:2: ",
                'a "*" or "&" at the beginning, which means something else in YAML; put it in quotes',
            ),
            ("a:\n  - b\n  - [::1]:80\n", "f:3:6: ", 'a value that begins with "[" or "{", such as an IPv6 address, in quotes'),
            ('a: "b" c\n', "f:1:8: ", "something after a value that is whole; put all of the value in one pair of quotes"),
            ("a: @b\n", "f:1:4: ", "a character that no value can begin with; put the value in quotes"),
            ("a: %b\n", "f:1:4: ", "a character that no value can begin with"),
            ("a: b: c\n", "f:1:5: ", 'a value that contains ": " in quotes'),
            ("a: [1, 2\n", "f:1:4: ", "not YAML: a bracket that is never closed; close it"),
            ("a: !!binary aGk=\n", "f:1: ", "YAML tags"),
            ("a: !run x\n", "f:1: ", "YAML tags"),
            ('a:\n- "\\uD83D\\uDE00"\n', "f:2: ", "half of a pair of escapes"),
            ("a: 1\n---\nb: 2\n", "f:2: ", "second document"),
            ("? [a, b]\n: c\n", "f:1: ", "a key must be a single value"),
            ("a: 1\nb: \x07\n", "f:2: ", "number 7"),
            ("\ta: 1\n", "f:1:1: ", "not YAML: a tab, where only spaces are allowed; indent with spaces"),
            ("a: 1\n\tb: 2\n", "f:2:1: ", "not YAML: a tab"),
            ("a: 1\n b: 2\n", "f:2:3: ", 'a "KEY: VALUE" where none can be; indent keys of one map, and items of one list, alike'),
            ("a:1\nb: 2\n", "f:2:2: ", "write a space after the colon of the key before it"),
            ("- a: 1\n  b: 2\n c: 3\n", "f:3:2: ", "an indentation that is that of no line before it"),
            ("a: 1\nb\n", "f:3:1: ", 'a line without "KEY: VALUE"; write a space after the colon'),
            ('a: 1\nb: "2\nc: 3\n', "f:2:4: ", "a quote that is never closed; close it"),
        ]:
            with self.subTest(text=text):
                line = str(self.assertRaises(SettingsError, load, "f", text))
                self.assertTrue(line.startswith(start), line)
                self.assertIn(words, line)
                self.assertNotIn("\n", line)

    def test_numbers_that_are_too_large(self) -> None:
        for text in ('a: "\\UFFFFFFFF"\n', f"%YAML 1.{'9' * 5000}\n---\na: b\n"):
            with self.assertRaises(SettingsError) as raised:
                load("f", text)
            self.assertTrue(str(raised.exception).startswith("f: not YAML: a number in an escape"), raised.exception)

    def test_depth(self) -> None:
        self.assertEqual(plain(load("f", "[" * MAX_DEPTH + "]" * MAX_DEPTH)) is None, False)
        self.assertIn("nested lists and maps", str(self.assertRaises(SettingsError, load, "f", "[" * 100_000)))

    def test_billion_laughs(self) -> None:
        text = "a: &a [x, x]\n" + "".join(f"{b}: &{b} [*{a}, *{a}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True))
        self.assertIn("f:1: ", str(self.assertRaises(SettingsError, load, "f", text)))

    @given(st.text(alphabet="ab:-[]{}&*!|>'\"#%@ \n\t,?~", max_size=60))
    @settings(max_examples=300, deadline=None)
    def test_any_text_is_read_or_refused_in_one_line(self, text: str) -> None:
        try:
            load("f", text)
        except SettingsError as error:
            self.assertNotIn("\n", str(error))


class ReadTests(SynchronousTestCase):
    def write(self, data: bytes) -> str:
        path = Path(self.mktemp())
        path.write_bytes(data)
        return str(path)

    def refused(self, path: str) -> str:
        return str(self.assertRaises(SettingsError, read, path)).removeprefix(path)

    def test_byte_order_mark(self) -> None:
        self.assertEqual(plain(read(self.write(b"\xef\xbb\xbfa: 1\n"))), {"a": "1"})

    def test_missing(self) -> None:
        self.assertEqual(self.refused("/nowhere/f.yaml"), ": cannot be read: No such file or directory")

    def test_no_name_of_a_file(self) -> None:
        error = self.assertRaises(SettingsError, read, "a\0b")
        self.assertEqual(str(error), "a\\x00b: cannot be read: embedded null byte")

    def test_folder(self) -> None:
        self.assertEqual(self.refused("/"), ": cannot be read: Is a directory")

    def test_size(self) -> None:
        self.assertEqual(self.refused(self.write(b"#" * (MAX_SIZE + 1))), ": larger than 1 MiB; is it the right file?")

    def test_encoding(self) -> None:
        self.assertEqual(self.refused(self.write("a: 1\nb: ü\n".encode("latin-1"))), ":2: not UTF-8; save it in that encoding")
