"""So many connections, from wherever."""

from __future__ import annotations

import errno
from typing import Any, cast

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.transport.fixed_room import RETRY, FixedRoom
from tests.support.logs import logged


class PlayedPort:
    """A port that is paused or not."""

    paused = False

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False


class FixedRoomTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.room = FixedRoom("guests", self.clock, 2)
        self.port = cast(Any, PlayedPort())
        self.room.add(self.port)

    def test_all_taken(self) -> None:
        with logged() as lines:
            places = [self.room.enter(f"192.0.2.{number}") for number in range(2)]
            self.assertEqual((self.room.room, self.port.paused), (0, True))
            places[0].leave()
            self.assertEqual((self.room.room, self.port.paused), (1, False))
        self.assertEqual(lines, ["guests wait until there is room: they have all of 2 connections"])

    def test_no_descriptor(self) -> None:
        with logged() as lines:
            self.room.exhausted(OSError(errno.ENFILE, "played"))
        self.assertEqual(lines, ["guests wait until there is room: Too many open files in system"])
        self.assertTrue(self.port.paused)
        self.clock.advance(RETRY)
        self.assertFalse(self.port.paused)

    def test_both(self) -> None:
        """A port without room is not resumed by the next try."""
        self.room.exhausted(OSError(errno.ENFILE, "played"))
        for _ in range(2):
            self.room.enter("192.0.2.1")
        self.clock.advance(RETRY)
        self.assertTrue(self.port.paused)

    def test_another_gate(self) -> None:
        self.room.remove(self.port)
        self.room.exhausted(OSError(errno.ENFILE, "played"))
        self.assertFalse(self.port.paused)
