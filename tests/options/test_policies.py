"""Policies as they are written."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.config.layout import SERVER_LAYOUT
from rtunnel.config.reading import read_text
from rtunnel.options.policies import POLICY
from rtunnel.routing.policies import Demand, OnAbsent, PolicyRow, ServedBy, Shares
from tests.support.processes import ROOT

WHOLE = "shop.example.org global=owners require=session,header:X-User max-lease=12h idle=30m served-by=on-request on-absent=503"

demands = st.lists(st.sampled_from(("session", "header", "header:x-user", "cookie:Debug", "query", "baggage:a")), unique=True)


def rows() -> st.SearchStrategy[PolicyRow]:
    times = st.none() | st.integers(0, 10**8).map(float)
    return st.builds(
        PolicyRow,
        pattern=st.sampled_from(("shop.example.org", "*.example.org", "*", "2001:db8::1")),
        shares=st.none() | st.sampled_from(Shares),
        require=st.none() | demands.filter(bool).map(lambda texts: tuple(map(Demand.parse, texts))),
        max_lease=times,
        idle=times,
        served_by=st.sampled_from(ServedBy),
        on_absent=st.none() | st.sampled_from(OnAbsent),
    )


class PageTests(SynchronousTestCase):
    """docs/intercepts.md: its file is read, and says what its option says."""

    def test_example(self) -> None:
        page = (ROOT / "docs" / "intercepts.md").read_text(encoding="utf-8").partition("\n## Policies\n")[2].partition("\n## ")[0]
        (block,) = re.findall(r"(?:^    .*\n)+", page, re.MULTILINE)
        (option,) = re.findall(r"--policy '(.*)'", page)
        reading = read_text("server.yaml", "\n".join(line[4:] for line in block.splitlines()), SERVER_LAYOUT)
        first, second = reading.base["policies"].value
        wanted = POLICY.parse(option)
        self.assertEqual((first.pattern, first.shares, first.require), (wanted.pattern, wanted.shares, wanted.require))
        self.assertEqual((first.max_lease, first.on_absent, second.pattern), (43200, OnAbsent.UNAVAILABLE, "*.dev.example.org"))


class TextTests(SynchronousTestCase):
    def test_whole(self) -> None:
        row = POLICY.parse(WHOLE)
        self.assertEqual((row.pattern, row.shares, row.max_lease, row.idle), ("shop.example.org", Shares.OWNERS, 43200, 1800))
        self.assertEqual((list(map(str, row.require)), row.served_by), (["session", "header:x-user"], ServedBy.ON_REQUEST))
        self.assertIs(row.on_absent, OnAbsent.UNAVAILABLE)

    @given(rows())
    def test_written_as_read(self, row: PolicyRow) -> None:
        self.assertEqual(POLICY.parse(POLICY.show(row)), row)

    def test_refused(self) -> None:
        for text, why in (
            ("", "begins with no host"),
            ("global=forbid", "begins with no host"),
            ("a.org", "says nothing of a.org"),
            ("a.org globl=forbid", "not KEY=VALUE with one of the keys global, require"),
            ("a.org forbid", "not KEY=VALUE"),
            ("a.org global=never", "global must be one of allow, owners, forbid"),
            ("a.org on-absent=500", "on-absent must be one of pod, 503"),
            ("a.org max-lease=long", "max-lease not a time"),
            ("a.org require=path", "require "),
            ("a.org idle=1s idle=2s", "idle is given twice"),
            ("a.*.org idle=1s", "wildcard inside its host"),
        ):
            with self.assertRaises(ValueError) as caught:
                POLICY.parse(text)
            self.assertIn(why, str(caught.exception))

    @given(st.text())
    def test_any_text(self, text: str) -> None:
        """It is read, or refused with a sentence."""
        try:
            POLICY.parse(text)
        except ValueError as error:
            self.assertTrue(str(error))
