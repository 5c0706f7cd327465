"""Invitations: written and read, damaged, of others."""

from __future__ import annotations

import base64
import json
import os
import zlib
from pathlib import Path
from typing import Any
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.profiles.invitation import MAX_LINE, PREFIX, Invitation, InvitationError, certificates_of, checksum
from tests.support.authority import Authority
from tests.support.ids import TUNNEL

SHOP = Invitation("shop", "shop.example.org", "wss://shop.example.org/proxy", TUNNEL, "bob", "correct horse")

names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", fullmatch=True)
words = st.text(st.characters(categories=("L", "N", "P", "S")), max_size=40)
invitations = st.builds(
    Invitation,
    name=names,
    host=words.filter(bool),
    server=st.sampled_from(("wss://shop.example.org/proxy", "server:8421", "tls://[::1]:443")),
    tunnel=st.uuids(),
    user=st.just("bob"),
    password=st.text(st.characters(categories=("L", "N", "P", "S")) | st.just(" "), min_size=1, max_size=40),
    host_header=words,
    tls_server_name=words,
    ca=st.lists(st.binary(min_size=1, max_size=300), max_size=3).map(tuple),
)


def packed(document: Any) -> str:
    """A line with a document in it, as a hostile server could print it."""
    data = zlib.compress(json.dumps(document).encode())
    return PREFIX + base64.urlsafe_b64encode(data + checksum(data)).decode().rstrip("=")


class LineTests(SynchronousTestCase):
    @given(invitations)
    def test_read_as_written(self, invitation: Invitation) -> None:
        self.assertEqual(Invitation.read(invitation.line), invitation)

    @given(invitations, st.integers(0, 10**6), st.sampled_from("Ax_-9"))
    def test_damaged(self, invitation: Invitation, at: int, other: str) -> None:
        """No line with another character, or with one less, is taken for what it was."""
        line = invitation.line
        at = len(PREFIX) + at % (len(line) - len(PREFIX))
        for damaged in (line[:at] + other + line[at + 1 :], line[:at] + line[at + 1 :]):
            try:
                read = Invitation.read(damaged)
            except InvitationError as error:
                self.assertIn("not whole", str(error))
            else:
                # the last character has bits to spare
                self.assertEqual(read, invitation)

    @given(st.text(max_size=80) | st.text("ABCabc019_-", max_size=80).map(lambda text: PREFIX + text))
    def test_anything(self, text: str) -> None:
        error = self.assertRaises(InvitationError, Invitation.read, text)
        self.assertTrue(str(error))

    def test_as_mail_programs_wrap_it(self) -> None:
        line = SHOP.line
        self.assertEqual(Invitation.read(f"  {line[:60]}\r\n   {line[60:]}\n"), SHOP)

    def test_of_a_newer_version(self) -> None:
        self.assertIn("update", str(self.assertRaises(InvitationError, Invitation.read, "rtunnel2_abc")))

    def test_keys_of_a_later_version_are_ignored(self) -> None:
        document = {"name": "shop", "host": "h", "server": "s:1", "tunnel": str(TUNNEL), "colour": ["blue"]}
        self.assertEqual(Invitation.read(packed(document)), Invitation("shop", "h", "s:1", TUNNEL))

    def test_hostile_documents(self) -> None:
        good = {"name": "shop", "host": "h", "server": "s:1", "tunnel": str(TUNNEL), "user": "bob", "password": "x"}
        for change, words in (
            ({"name": "../../evil"}, "name of a profile"),
            ({"name": ""}, "name of a profile"),
            ({"host": "a\x1b[2Jb"}, "host is not a name"),
            ({"host": ""}, "no host"),
            ({"host": 7}, "not whole"),
            ({"server": "gopher://x"}, "unknown scheme"),
            ({"server": "wss://a:b@c/"}, "must not contain a password"),
            ({"server": "tls:host=evil:port=443:privateKey=/home/bob/key.pem"}, "no URL"),
            ({"tunnel": "shop"}, "not whole"),
            ({"user": "a:b"}, "user"),
            ({"ca": "text"}, "not whole"),
            ({"ca": [7]}, "not whole"),
            ({"ca": ["*"]}, "not whole"),
        ):
            error = self.assertRaises(InvitationError, Invitation.read, packed(good | change))
            self.assertIn(words, str(error), change)
        documents: tuple[Any, ...] = ([], "text", None, 7)
        for document in documents:
            self.assertRaises(InvitationError, Invitation.read, packed(document))

    def test_bombs(self) -> None:
        """What unpacks to megabytes is not unpacked."""
        line = packed({"name": "a" * 2**22})
        self.assertLess(len(line), 2**13)
        self.assertRaises(InvitationError, Invitation.read, line)
        self.assertRaises(InvitationError, Invitation.read, PREFIX + "A" * MAX_LINE)

    def test_secrets_are_not_shown(self) -> None:
        self.assertNotIn("correct", repr(SHOP))

    def test_a_ca_that_is_too_long(self) -> None:
        error = self.assertRaises(InvitationError, lambda: Invitation("a", "h", "s:1", TUNNEL, ca=(os.urandom(3000),)).line)
        self.assertIn("rtunnel login --ca-file", str(error))

    def test_certificates(self) -> None:
        pem = Path(Authority(self.mktemp()).ca_file).read_text(encoding="ascii")
        (certificate,) = certificates_of(f"a comment\n{pem}")
        invitation = Invitation.read(Invitation("a", "h", "s:1", UUID(int=1), ca=(certificate,)).line)
        assert invitation.ca_text is not None
        self.assertEqual(certificates_of(invitation.ca_text), (certificate,))
        self.assertRaises(InvitationError, certificates_of, "no certificate")
