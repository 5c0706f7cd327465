from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from bench.record import CaseRecord, Record, SystemRecord
from bench.split import split


class SplitTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.record = Record("2026-01-02", "example", {}, {"rounds": 1, "seconds": 4.0})
        for name in ("direct", "hop", "rtunnel"):
            self.record.systems[name] = SystemRecord(name, "HTTP", "1.0")
        self.record.cases["k64"] = CaseRecord("64 connections", growth=False)

    def test_each_process_and_all_together(self) -> None:
        self.record.add("k64", "direct", {"rps": 90000.0})
        self.record.add("k64", "hop", {"rps": 40000.0, "server_us": 14.0, "server_kernel_us": 10.0})
        both = {"server_us": 12.5, "server_kernel_us": 5.5, "client_us": 11.0, "client_kernel_us": 7.0}
        self.record.add("k64", "rtunnel", {"rps": 43000.0, **both})
        self.assertEqual(
            split(self.record),
            [
                "| case | system | each second | server: program + kernel | client: program + kernel | us, all together |",
                "| --- | ---: | ---: | ---: | ---: | ---: |",
                "| k64 | hop | 40000 | 4.0 + 10.0 | - | 14.0 |",
                "| k64 | rtunnel | 43000 | 7.0 + 5.5 | 4.0 + 7.0 | 23.5 |",
                "",
            ],
        )

    def test_run_that_did_not_keep_the_kernels_part(self) -> None:
        self.record.add("k64", "rtunnel", {"rps": 43000.0, "server_us": 12.5})
        self.assertIn("| k64 | rtunnel | 43000 | 12.5 | 12.5 |", split(self.record))

    def test_nothing_without_processor_time(self) -> None:
        self.record.add("k64", "direct", {"rps": 90000.0})
        self.assertEqual(split(self.record), [])
