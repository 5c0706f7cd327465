"""Programs at the proxy and at forwards, all the way to the pod, in memory."""

from __future__ import annotations

from typing import Any

from twisted.internet.error import ConnectionRefusedError as Refused

from rtunnel.client.pod import local_programs
from rtunnel.client.pod.local_programs import LINGER, REQUEST_TIMEOUT, LocalProgram, LocalPrograms
from rtunnel.wire.proxy_server import ProxyServer, Wanted
from tests.client.harness import Peer
from tests.server.pods import POSTGRES, PodCase
from tests.support.pipe import connect

SOCKS = b"\x05\x01\x00\x05\x01\x00\x01\x0a\0\0\x07\x15\x38"
"""SOCKS5 to 10.0.0.7:5432, without waiting for the greeting's answer."""
GRANTED = b"\x05\x00\x05\x00\x00\x01\0\0\0\0\0\0"


class LocalProgramCase(PodCase):
    def setUp(self) -> None:
        super().setUp()
        self.client_in_pod = self.pod()
        self.link = self.machine()
        self.programs = LocalPrograms(self.link, self.clock)

    def program(self, to: Wanted | None = None) -> Peer:
        """A program that has connected to the proxy, or to a forward."""
        program = Peer()
        ours = LocalProgram(self.programs, None if to else ProxyServer(), to)
        self.way_of_machine.pipes.append(connect(program, ours))
        self.settle()
        return program

    def send(self, program: Peer, data: bytes) -> None:
        program.transport.write(data)
        self.settle()

    def target(self) -> Peer:
        return self.accept(self.client_in_pod)


class ProxyTests(LocalProgramCase):
    def test_socks(self) -> None:
        program = self.program()
        self.send(program, SOCKS + b"select 1")
        self.assertEqual(program.take(), b"\x05\x00")
        target = self.target()
        self.assertEqual((program.take(), target.take()), (GRANTED[2:], b"select 1"))
        target.transport.write(b"1")
        self.settle()
        self.assertEqual(program.take(), b"1")
        program.transport.loseWriteConnection()
        self.settle()
        self.assertTrue(target.read_ended)
        target.transport.write(b"late")
        target.transport.loseConnection()
        self.settle()
        self.assertEqual((program.take(), self.programs.connections), (b"late", set()))

    def test_http(self) -> None:
        program = self.program()
        self.send(program, b"GET http://10.0.0.8/ HTTP/1.1\r\nHost: 10.0.0.8\r\n\r\nGET http://b/ HTTP/1.1\r\n")
        target = self.target()
        self.assertEqual(target.take(), b"GET / HTTP/1.1\r\nHost: 10.0.0.8\r\nConnection: close\r\n\r\n")
        target.transport.write(b"HTTP/1.1 200 OK\r\n\r\nhello")
        target.transport.loseConnection()
        self.settle()
        self.assertEqual((target.take(), program.take()), (b"", b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello"))

    def test_a_second_request(self) -> None:
        """Of a program that keeps a connection which its destination did not close: it has to connect again."""
        program = self.program()
        self.send(program, b"POST http://10.0.0.8/ HTTP/1.1\r\nHost: 10.0.0.8\r\nContent-Length: 1\r\n\r\n")
        target = self.target()
        self.send(program, b"x\r\n")
        self.assertTrue(target.take().endswith(b"Connection: close\r\n\r\nx"))
        target.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        self.settle()
        self.assertFalse(program.read_ended)
        self.send(program, b"GET http://10.0.0.8/ HTTP/1.1\r\nHost: 10.0.0.8\r\n\r\n")
        self.assertTrue(program.take().endswith(b"ok"))
        self.assertTrue(program.read_ended or program.lost)
        self.assertEqual((target.take(), self.programs.connections), (b"", set()))

    def test_an_answer_to_a_program_that_still_sends(self) -> None:
        """It is there, whatever else comes; then the program has a while to close."""
        program = self.program()
        head = b"POST http://10.9.9.9/ HTTP/1.1\r\nHost: 10.9.9.9\r\nContent-Length: 1000000\r\n\r\n"
        self.send(program, head + b"x" * 1000)
        self.assertTrue(program.take().startswith(b"HTTP/1.1 403 not allowed\r\n"))
        self.send(program, b"x" * 900_000)
        self.assertEqual((program.read_ended, program.lost), (True, None))
        self.wait(LINGER + 1)
        self.assertIsNotNone(program.lost)
        self.assertEqual(self.programs.connections, set())

    def test_connect(self) -> None:
        program = self.program()
        self.send(program, b"CONNECT 10.0.0.7:5432 HTTP/1.1\r\nHost: 10.0.0.7:5432\r\n\r\n")
        self.target()
        self.assertEqual(program.take(), b"HTTP/1.1 200 Connection established\r\n\r\n")

    def test_denied(self) -> None:
        """The program sees the code of its protocol, the user a line, once."""
        for _ in range(3):
            program = self.program()
            self.send(program, SOCKS[:-1] + b"\x39")
            self.assertEqual(program.take(), b"\x05\x00\x05\x02\x00\x01\0\0\0\0\0\0")
            self.assertTrue(program.read_ended)
            program.transport.loseConnection()
            self.settle()
        self.assertEqual(sum("cannot reach 10.0.0.7:5433" in line and "192.0.2.1" in line for line in self.lines), 2)
        self.assertEqual(self.programs.connections, set())

    def test_refused(self) -> None:
        program = self.program()
        self.send(program, SOCKS)
        self.targets(self.client_in_pod).refuse(Refused())
        self.settle()
        self.assertEqual(program.take()[3:4], b"\x05")

    def test_not_a_proxy_request(self) -> None:
        program = self.program()
        self.send(program, b"GET / HTTP/1.1\r\nHost: 127.0.0.1:1080\r\nOrigin: http://evil\r\n\r\n")
        self.assertTrue(program.take().startswith(b"HTTP/1.1 400 "))
        self.assertTrue(program.read_ended)
        self.heard("cannot reach anything: this is the proxy of rtunnel reach")

    def test_silent(self) -> None:
        program = self.program()
        self.send(program, b"\x05")
        self.wait(REQUEST_TIMEOUT + 1)
        self.assertIsNotNone(program.lost)
        self.assertEqual(self.programs.connections, set())

    def test_it_leaves(self) -> None:
        for data in (b"", b"\x05"):
            program = self.program()
            self.send(program, data)
            program.transport.loseConnection()
            self.settle()
        self.assertEqual(self.programs.connections, set())

    def test_refusals_are_bounded(self) -> None:
        self.patch(local_programs, "MAX_NAMED", 2)
        for number in range(5):
            self.programs.refused("peer", f"a{number}:1", "why")
        self.assertLessEqual(len(self.programs._refusals), 2)


class ForwardTests(LocalProgramCase):
    def test_bytes(self) -> None:
        program = self.program(Wanted(POSTGRES, 5432))
        target = self.target()
        self.send(program, b"select 1")
        self.assertEqual((program.take(), target.take()), (b"", b"select 1"))

    def test_denied(self) -> None:
        """The program sees a reset, and no empty answer."""
        program = self.program(Wanted(POSTGRES, 5433))
        self.assertIsNotNone(program.lost)
        self.heard("cannot reach 10.0.0.7:5433: no rule")

    def test_closed(self) -> None:
        """When the command ends, so do its connections, whatever they wait for."""
        joined, waiting = self.program(Wanted(POSTGRES, 5432)), self.program(Wanted(POSTGRES, 5432))
        self.target()
        self.programs.close()
        self.settle()
        self.assertIsNotNone(joined.lost)
        self.assertIsNotNone(waiting.lost)
        self.assertEqual(self.programs.connections, set())


class FlowTests(LocalProgramCase):
    """Bulk: a slow program holds up its own stream."""

    def test_slow_program(self) -> None:
        program: Any = self.program(Wanted(POSTGRES, 5432))
        target = self.target()
        program.transport.pauseProducing()
        target.transport.write(b"x" * (8 << 20))
        self.settle()
        self.assertGreater(target.transport.waiting, 4 << 20)
        program.transport.resumeProducing()
        self.settle()
        self.assertEqual((len(program.take()), target.transport.waiting), (8 << 20, 0))
