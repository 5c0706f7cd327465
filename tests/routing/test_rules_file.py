"""Files of ingress rules: what a line may be, and what is said of one that is no rule."""

from __future__ import annotations

from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.routing.ingress import IngressRule
from rtunnel.routing.rules_file import RulesError, read_rules

A = UUID("10bc451e-59dc-4c70-999e-91a30813ac78")
B = UUID("2f1c1d2e-0000-4a5b-8c9d-0123456789ab")


class ReadingTests(SynchronousTestCase):
    """Good files, and bad ones."""

    def faults(self, text: str, *beside: IngressRule) -> list[tuple[int, str, str]]:
        error = self.assertRaises(RulesError, read_rules, text, beside)
        return [(fault.line, fault.text, fault.hint) for fault in error.faults]

    def test_forms(self) -> None:
        text = f"""\
# the shop
shop.example={A}
*.shop.example = {A}   # and all below

\tpod.local\t{B}
old.local:{B}\r
[2001:db8::1]={A}
hidden.local=${B}
hidden.too ${B}
* {A}
"""
        self.assertEqual(
            read_rules(text),
            (
                IngressRule("shop.example", A),
                IngressRule("*.shop.example", A),
                IngressRule("pod.local", B),
                IngressRule("old.local", B),
                IngressRule("2001:db8::1", A),
                IngressRule("hidden.local", B, private=True),
                IngressRule("hidden.too", B, private=True),
                IngressRule("*", A),
            ),
        )

    def test_nothing(self) -> None:
        """A file without a rule is a good one: all of them are gone."""
        for text in ("", "\n\n", "# nothing", "\t #\r\n"):
            self.assertEqual(read_rules(text), ())

    def test_repeated(self) -> None:
        self.assertEqual(len(set(read_rules(f"a.local={A}\nA.local. {A}\n", [IngressRule("a.local", A)]))), 1)

    def test_all_faults(self) -> None:
        """Each with its line; good lines between them change nothing."""
        found = self.faults(f"nonsense\na.local={A}\n# b\nb.local=123\n\nb local {A}\nc.local:80={A}\n")
        self.assertEqual(
            [(line, text) for line, text, _ in found],
            [(1, "nonsense"), (4, "b.local=123"), (6, f"b local {A}"), (7, f"c.local:80={A}")],
        )
        self.assertIn("write HOST=UUID", found[0][2])
        self.assertIn("has no valid UUID", found[1][2])
        self.assertIn("has a port", found[3][2])

    def test_contradiction(self) -> None:
        self.assertEqual(
            self.faults(f"a.local={A}\nb.local={A}\nA.Local={B}\n"),
            [(3, f"A.Local={B}", "this host has another tunnel in line 1; name each host once")],
        )
        self.assertEqual(
            self.faults(f"a.local={A}\n", IngressRule("a.local", B)),
            [(1, f"a.local={A}", "this host has another tunnel in the settings; name each host once")],
        )
        self.assertEqual(len(self.faults(f"a.local=${A}\n", IngressRule("a.local", A))), 1)

    @settings(deadline=None, max_examples=200)
    @given(st.text(max_size=200))
    def test_anything(self, text: str) -> None:
        """Any text is read or refused with a line that it has."""
        try:
            read_rules(text)
        except RulesError as error:
            lines = text.split("\n")
            for fault in error.faults:
                self.assertIn(fault.text, lines[fault.line - 1])

    @settings(deadline=None, max_examples=100)
    @given(
        st.lists(
            st.builds(
                IngressRule, st.from_regex(r"(\*\.)?[a-z]{1,8}(\.[a-z]{1,8}){0,3}", fullmatch=True), st.uuids(), st.booleans()
            )
        )
    )
    def test_rules_return(self, rules: list[IngressRule]) -> None:
        unique = tuple({rule.pattern: rule for rule in rules if rule.tunnel.int}.values())
        self.assertEqual(read_rules("\n".join(map(str, unique))), unique)
