from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import cast

from twisted.trial.unittest import SynchronousTestCase

from bench import cases
from bench.cases import Case, Logged, Site, Values, per_gigabyte, per_unit, standard_cases
from bench.load import Visit
from bench.proc import BenchError, CpuTime
from bench.service import Service
from bench.systems.base import Setup


class CpuTests(SynchronousTestCase):
    def setUp(self) -> None:
        now = {"server": CpuTime(3.0, 1.5), "client": CpuTime(1.0, 1.0)}
        self.site = cast(Site, SimpleNamespace(cpu=lambda: now))
        self.before = {"server": CpuTime(1.0, 1.0), "client": CpuTime(1.0, 0.0)}

    def test_microseconds_of_each_request(self) -> None:
        self.assertEqual(
            per_unit(self.site, self.before, 1000),
            {"server_us": 2500.0, "server_kernel_us": 500.0, "client_us": 1000.0, "client_kernel_us": 1000.0},
        )

    def test_seconds_of_each_gigabyte(self) -> None:
        self.assertEqual(per_gigabyte(self.site, self.before, 500_000_000), {"server_s_per_gb": 5.0, "client_s_per_gb": 2.0})


class SetupTests(SynchronousTestCase):
    """What a case asks of a system."""

    def setup_of(self, name: str) -> Setup:
        case = {case.name: case for case in standard_cases()}[name]
        return case.setup(cast(Service, SimpleNamespace(ports=(1, 2))))

    def test_ingress_is_believed_unless_the_case_says_otherwise(self) -> None:
        trusted = {case.name for case in standard_cases() if "ingress" in case.name and self.setup_of(case.name).trusted}
        self.assertEqual(trusted, {"ingress-k64", "ingress-k1", "ingress-access-text-k64", "nginx-ingress-k64"})
        self.assertFalse(self.setup_of("ingress-untrusted-k64").trusted)
        self.assertFalse(self.setup_of("k64").trusted)

    def test_access_log_only_where_the_name_says_so(self) -> None:
        logs = {case.name: self.setup_of(case.name).access_log for case in standard_cases() if "access" in case.name}
        self.assertEqual(logs, {"ingress-access-text-k64": "text", "access-text-k64": "text", "access-json-k64": "json"})
        self.assertIsNone(self.setup_of("k64").access_log)
        self.assertIsNone(self.setup_of("ingress-k64").access_log)

    def test_names_are_there_once(self) -> None:
        names = [case.name for case in standard_cases()]
        self.assertEqual(len(names), len(set(names)))


class LoggedTests(SynchronousTestCase):
    """A system that drops lines is not measured as one that writes them."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.log = self.directory / "access.log"
        self.log.write_bytes(b"an older line\n")
        self.requests = [7, 0]
        self.site = cast(
            Site,
            SimpleNamespace(
                stage=SimpleNamespace(directory=self.directory), service=SimpleNamespace(requests=lambda: tuple(self.requests))
            ),
        )
        self.patch(time, "sleep", lambda seconds: None)

    def measure(self, requests: int, lines: int) -> Values:
        """One measurement in which so many requests leave so many lines."""

        def measured(site: Site, what: Visit) -> tuple[None, Values]:
            self.requests[0] += requests
            with self.log.open("ab") as log:
                log.write(b"a line\n" * lines)
            return None, {"rps": 10.0}

        self.patch(cases, "measured_visit", measured)
        case: Case = Logged("example", "an example", Visit(1), "text")
        return case.measure(self.site)

    def test_every_request_has_its_line(self) -> None:
        self.assertEqual(self.measure(1000, 1000), {"rps": 10.0, "logged": 100.0})

    def test_too_few_lines(self) -> None:
        error = self.assertRaises(BenchError, self.measure, 1000, 900)
        self.assertEqual(str(error), "only 90.0 % of the requests are in the access log")

    def test_no_log_at_all(self) -> None:
        self.log.unlink()
        self.assertRaises(FileNotFoundError, self.measure, 1000, 0)
