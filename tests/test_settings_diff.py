"""The difference between the settings that are running and those that are wanted."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.settings import Address, MuxSettings
from rtunnel.settings.diff import BindKey, Difference, changed_fields, compare, numbered

SETS = st.dictionaries(st.integers(0, 6), st.integers(0, 2))


class CompareTests(SynchronousTestCase):
    def test_each_kind(self) -> None:
        difference = compare({"a": 1, "b": 2, "c": 3}, {"d": 4, "c": 3, "b": 5})
        self.assertEqual((difference.start, difference.stop, difference.change), (("d",), ("a",), ("b",)))
        self.assertEqual(compare({"a": 1}, {"a": 1}), Difference((), (), ()))

    @given(SETS, SETS)
    def test_done_to_what_runs_it_gives_what_is_wanted(self, running: dict[int, int], wanted: dict[int, int]) -> None:
        difference = compare(running, wanted)
        for key in difference.stop:
            del running[key]
        for key in (*difference.start, *difference.change):
            running[key] = wanted[key]
        self.assertEqual(running, wanted)
        self.assertEqual(compare(running, wanted), Difference((), (), ()))


class KeyTests(SynchronousTestCase):
    def test_equal_values_have_keys_of_their_own(self) -> None:
        self.assertEqual(list(numbered(["a", "b", "a"])), [("a", 1), ("b", 1), ("a", 2)])

    def test_addresses(self) -> None:
        key = BindKey.counter()
        free, web = Address("127.0.0.1", 0), Address("", 80)
        self.assertEqual([key(address) for address in (free, web, free)], [BindKey(free), BindKey(web), BindKey(free, 2)])
        self.assertEqual(list(map(str, (BindKey(web), BindKey(free)))), ["*:80", "127.0.0.1:0"])

    def test_changed_fields(self) -> None:
        self.assertEqual(changed_fields(MuxSettings(), MuxSettings(version=1, frame_size=1024)), ["version", "frame_size"])
