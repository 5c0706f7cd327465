"""Addresses in values become local ones; everything else stays as it is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.podenv.merging import Choice, Merged, merge
from rtunnel.podenv.rewriting import LocalAddress, rewrite
from rtunnel.podenv.variables import Variable

ADDRESSES = (
    LocalAddress(("postgres", "postgres.shop"), 5432, "127.0.0.1", 15432),
    LocalAddress(("redis",), 6379, "127.77.0.6", 6379),
    LocalAddress(("orders.shop.svc",), 80, "127.0.0.1", 18080),
    LocalAddress(("fd00::7",), 443, "::1", 8443),
)


def rewritten(**values: str) -> dict[str, str | None]:
    return {one.name: one.value for one in rewrite(merge(variables(values), Choice(), {}), ADDRESSES)}


def variables(values: dict[str, str]) -> list[Variable]:
    return [Variable(name, value, "value") for name, value in values.items()]


class ValueTests(SynchronousTestCase):
    def becomes(self, value: str, expected: str) -> None:
        self.assertEqual(rewritten(X=value)["X"], expected, value)

    def test_addresses(self) -> None:
        """Wherever one stands by itself."""
        for value, expected in (
            ("postgres:5432", "127.0.0.1:15432"),
            ("Postgres.shop:5432", "127.0.0.1:15432"),
            (
                "postgres://shop:p%40w@postgres:5432/shop?sslmode=disable",
                "postgres://shop:p%40w@127.0.0.1:15432/shop?sslmode=disable",
            ),
            ("jdbc:postgresql://postgres:5432/shop", "jdbc:postgresql://127.0.0.1:15432/shop"),
            ("user:pw@tcp(postgres:5432)/db", "user:pw@tcp(127.0.0.1:15432)/db"),
            ("mongodb://a:1,postgres:5432,redis:6379/x", "mongodb://a:1,127.0.0.1:15432,127.77.0.6:6379/x"),
            ('{"db": "postgres:5432"}', '{"db": "127.0.0.1:15432"}'),
            ("a\npostgres:5432\nb", "a\n127.0.0.1:15432\nb"),
            ("https://[FD00::7]:443/x", "https://[::1]:8443/x"),
        ):
            self.becomes(value, expected)

    def test_the_port_of_a_scheme(self) -> None:
        for value, expected in (
            ("http://orders.shop.svc", "http://127.0.0.1:18080"),
            ("http://orders.shop.svc/v1?a=b", "http://127.0.0.1:18080/v1?a=b"),
            ("postgresql+psycopg://shop:pw@postgres/shop", "postgresql+psycopg://shop:pw@127.0.0.1:15432/shop"),
            ("redis://default@redis", "redis://default@127.77.0.6:6379"),
            ("https://[fd00::7]/", "https://[::1]:8443/"),
            ("http://a http://orders.shop.svc", "http://a http://127.0.0.1:18080"),
        ):
            self.becomes(value, expected)

    def test_what_stays(self) -> None:
        for value in (
            "",
            "postgres",
            "postgres:54321",
            "postgres:5433",
            "my-postgres:5432",
            "postgres.other:5432",
            "x.postgres:5432",
            "postgres://postgres:5432@db:1/x",
            "postgres://postgres:5432!x@db:1/x",
            "postgres://postgres@db/x",
            "postgres:5432x",
            "postgres:5432-5440",
            "https://orders.shop.svc/",
            "http://orders.shop.svc.evil.example/",
            "mailto:postgres",
            "%2Fpostgres:5432",
            "x" * 300_000,
            "a." * 150_000,
            "://" * 100_000,
            "[" * 300_000,
            "[1:" * 100_000,
        ):
            self.becomes(value, value)

    @given(st.text("postgresqlhtaredisorders.shop.svc:/@-_[]0123456789 ", max_size=60))
    def test_nothing_else_changes(self, value: str) -> None:
        """Where nothing is named, nothing is replaced, and one replacement is enough."""
        (one,) = rewrite(merge(variables({"X": value}), Choice(), {}), ADDRESSES)
        self.assertEqual(one.value == value, not one.replaced)
        self.assertEqual(rewrite([one], ADDRESSES)[0].value, one.value)


class PairTests(SynchronousTestCase):
    def test_pairs(self) -> None:
        for host, port in (("DB_HOST", "DB_PORT"), ("PGHOST", "PGPORT"), ("DB_HOSTNAME", "DB_PORT"), ("db.host", "db.port")):
            found = rewritten(**{host: "postgres", port: "5432", "OTHER_PORT": "5432"})
            self.assertEqual(found, {host: "127.0.0.1", port: "15432", "OTHER_PORT": "5432"})

    def test_other_ports(self) -> None:
        for port in ("5433", "", "x", "\u0665\u0664\u0663\u0662", "5" * 5000):
            values = {"DB_HOST": "postgres", "DB_PORT": port}
            self.assertEqual(rewritten(**values), values)

    def test_without_a_port(self) -> None:
        """Only where its port is the same here, so that a default of the program is right."""
        self.assertEqual(rewritten(REDIS_HOST="redis", DB_HOST="postgres"), {"REDIS_HOST": "127.77.0.6", "DB_HOST": "postgres"})

    def test_a_host_with_its_port(self) -> None:
        self.assertEqual(rewritten(DB_HOST="postgres:5432"), {"DB_HOST": "127.0.0.1:15432"})


class SourceTests(SynchronousTestCase):
    def test_only_those_of_the_pod(self) -> None:
        """What somebody says is not changed, nor what is there already."""
        url = "postgres:5432"
        choice = Choice(sets={"A": url}, file={"B": url}, rename={"D": "E"}, local_wins=True)
        found = rewrite(merge(variables({"A": url, "C": url, "D": url}), choice, {"C": url}), ADDRESSES)
        self.assertEqual({one.name: one.value for one in found}, {"A": url, "B": url, "C": None, "E": "127.0.0.1:15432"})

    def test_a_port_that_somebody_sets(self) -> None:
        found = rewrite(merge(variables({"DB_HOST": "postgres"}), Choice(sets={"DB_PORT": "5432"}), {}), ADDRESSES)
        self.assertEqual({one.name: one.value for one in found}, {"DB_HOST": "postgres", "DB_PORT": "5432"})

    def test_explained(self) -> None:
        def replaced(one: Merged) -> tuple[str, tuple[str, ...]]:
            return one.name, one.replaced

        found = rewrite(merge(variables({"A": "redis:6379", "B": "1", "C": "redis:6379,redis:6379"}), Choice(), {}), ADDRESSES)
        what = ("redis:6379 by 127.77.0.6:6379",)
        self.assertEqual(list(map(replaced, found)), [("A", what), ("B", ()), ("C", what)])
