"""Messages of the control stream: what is said is heard, whatever is said by others is bounded and printable."""

from __future__ import annotations

import json
from typing import Any

import attrs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.wire.control import (
    KINDS,
    MAX_LINE,
    ControlError,
    ControlReader,
    Ended,
    Granted,
    Hello,
    Joined,
    Listed,
    Message,
    clean,
    encode,
)

slowly = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

TIMES = st.floats(-1, 10_000_000, allow_nan=False)
_BY_TYPE: dict[type, st.SearchStrategy[Any]] = {
    str: st.builds(lambda text, times: text * times, st.text(max_size=8), st.sampled_from((1, 1, 300))),
    float: TIMES,
    int: st.integers(0, 2**31 - 1),
    bool: st.booleans(),
}


@st.composite
def messages(draw: st.DrawFn) -> Message:
    """Any message, with texts that are too long, or not printable, too."""
    model = draw(st.sampled_from(list(KINDS.values())))
    return model(**{field.name: draw(_BY_TYPE[type(field.default)]) for field in attrs.fields(model)})


def read(data: bytes) -> list[Message]:
    return ControlReader().receive(data)


class ControlTests(SynchronousTestCase):
    @slowly
    @given(st.lists(messages(), max_size=3), st.integers(1, 5000))
    def test_round_trip(self, said: list[Message], size: int) -> None:
        """However the bytes are cut; of texts, what may be kept of them."""
        data = b"".join(map(encode, said))
        reader = ControlReader()
        heard = [message for start in range(0, len(data), size) for message in reader.receive(data[start : start + size])]
        self.assertEqual(b"".join(map(encode, heard)), data)
        self.assertLessEqual(max(map(len, data.split(b"\n"))), MAX_LINE)
        for message, original in zip(heard, said, strict=True):
            for field in attrs.fields(type(message)):
                value, before = getattr(message, field.name), getattr(original, field.name)
                self.assertEqual(value, clean(before, field.metadata["limit"]) if isinstance(before, str) else before)

    def test_terminals_are_safe(self) -> None:
        """What a colleague writes cannot clear the screen, hide text or begin a line."""
        (message,) = read(json.dumps({"kind": "ended", "text": "\x1b[2J\u202eok\r\n\ud800"}).encode() + b"\n")
        self.assertEqual(message, Ended(text="\\x1b[2J\\u202eok\\r\\n\\ud800"))

    def test_long_texts_are_cut(self) -> None:
        (message,) = read(json.dumps({"kind": "joined", "name": "x" * 5000}).encode() + b"\n")
        self.assertEqual(message, Joined(name="x" * 97 + "..."))

    def test_newer_peers(self) -> None:
        """Unknown kinds and keys are ignored."""
        self.assertEqual(read(b'{"kind":"dance"}\n{"kind":"hello","version":1,"shoes":{"size":[43]}}\n'), [Hello(1)])

    def test_defaults_are_left_out(self) -> None:
        self.assertEqual(encode(Granted()), b'{"kind":"granted"}\n')

    def test_malformed(self) -> None:
        for line in (
            b"",
            b"\xff",
            b"null",
            b"[]",
            b"{}",
            b'{"kind":1}',
            b'{"kind":"hello","name":1}',
            b'{"kind":"hello","version":true}',
            b'{"kind":"hello","version":-1}',
            b'{"kind":"granted","left":"8h"}',
            b'{"kind":"granted","left":true}',
            b'{"kind":"granted","left":NaN}',
            b'{"kind":"granted","left":Infinity}',
            b'{"kind":"granted","left":1e999}',
            b'{"kind":"granted","resumed":1}',
            b'{"kind":"granted","left":' + b"9" * 5000 + b"}",
            b"[" * MAX_LINE,
        ):
            self.assertRaises(ControlError, read, line + b"\n")

    def test_lines_are_bounded(self) -> None:
        """Before they end, too; of what is kept, never more than a line."""
        reader = ControlReader()
        self.assertEqual(reader.receive(b" " * MAX_LINE), [])
        self.assertRaises(ControlError, reader.receive, b" ")
        self.assertRaises(ControlError, read, b" " * (MAX_LINE + 1) + b"\n")

    def test_lists_fit(self) -> None:
        """The longest entry of a list is a line that may be read."""
        texts: dict[str, Any] = {
            name: "\U0001f600" * 2000 for name, field in attrs.fields_dict(Listed).items() if field.default == ""
        }
        longest = attrs.evolve(Listed(), **texts)
        self.assertEqual(len(read(encode(longest))), 1)
