"""The programs, how each is called, and what it needs beside the system: that is made once, in a folder of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from shutil import which

from attrs import frozen

__all__ = ["CLIENTS", "DATABASE", "PROGRAMS", "Client", "prepare"]

PROGRAMS = Path(__file__).parent / "programs"
DATABASE = "postgres://postgres@postgres:5432/postgres?sslmode=disable"
JDBC = "jdbc:postgresql://postgres:5432/postgres?user=postgres&sslmode=disable"
REDIS = "redis://redis.shop.svc:6379"
WEB = "http://web:8080/"
WEB_80 = "http://web/"

PSYCOPG = "import sys, psycopg; print(psycopg.connect(sys.argv[1]).execute(\"select 'pod'\").fetchone()[0])"
HTTPX = "import sys, httpx; print(httpx.get(sys.argv[1]).text)"
DRIVER = "postgresql-42.7.4.jar"


@frozen
class Client:
    """A program that uses a service of the pod.

    :ivar name: as the table has it.
    :ivar url: where it goes, as the pod calls it.
    :ivar argv: its command line, of the folder and the URL; None if something of it is missing.
    :ivar variable: of the pod's environment that has the URL.
    """

    name: str
    variable: str
    url: str
    argv: Callable[[Path, str], list[str | None]]

    def command(self, folder: Path, url: str) -> list[str] | None:
        """The command line; None if something is missing here."""
        words = self.argv(folder, url)
        return None if None in words else [str(word) for word in words]


def _made(folder: Path, name: str) -> str | None:
    path = folder / name
    return str(path) if path.exists() else None


def _python(folder: Path, script: str, url: str) -> list[str | None]:
    return [_made(folder, "venv/bin/python"), "-c", script, url]


def _java(folder: Path, name: str, url: str) -> list[str | None]:
    classes = _made(folder, "classes")
    return [which("java"), "-cp", classes and f"{classes}:{folder}/{DRIVER}", name, url]


def _node(folder: Path, script: str, url: str) -> list[str | None]:
    # beside node_modules, where it looks for them
    return [which("node"), _made(folder, script), url]


CLIENTS = (
    Client("psql", "DATABASE_URL", DATABASE, lambda _, url: [which("psql"), url, "-Atc", "select 'pod'"]),
    Client("psycopg", "DATABASE_URL", DATABASE, lambda folder, url: _python(folder, PSYCOPG, url)),
    Client("node-postgres", "DATABASE_URL", DATABASE, lambda folder, url: _node(folder, "query.mjs", url)),
    Client("JDBC", "JDBC_URL", JDBC, lambda folder, url: _java(folder, "Query", url)),
    Client("pgx (static Go)", "DATABASE_URL", DATABASE, lambda folder, url: [_made(folder, "client"), url]),
    Client("redis-cli", "REDIS_URL", REDIS, lambda _, url: [which("redis-cli"), "-u", url, "ping"]),
    Client("curl", "WEB_URL", WEB, lambda _, url: [which("curl"), "-sSf", "--max-time", "30", url]),
    Client("curl, port 80", "WEB_80_URL", WEB_80, lambda _, url: [which("curl"), "-sSf", "--max-time", "30", url]),
    Client("httpx", "WEB_URL", WEB, lambda folder, url: _python(folder, HTTPX, url)),
    Client("fetch of Node.js", "WEB_URL", WEB, lambda folder, url: _node(folder, "fetch.mjs", url)),
    Client("HttpClient of Java", "WEB_URL", WEB, lambda folder, url: _java(folder, "Get", url)),
    Client("net/http (static Go)", "WEB_URL", WEB, lambda folder, url: [_made(folder, "client"), url]),
)


def prepare(folder: Path) -> None:
    """Make what the programs need, as far as it is not there: with pip, npm, mvn, javac and go, where the system has them."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "venv").exists():
        _run(sys.executable, "-m", "venv", str(folder / "venv"))
        _run(str(folder / "venv/bin/pip"), "install", "--quiet", "psycopg[binary]", "httpx")
    if which("node") and not (folder / "query.mjs").exists():
        _run("npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(folder), "pg")
        for script in ("query.mjs", "fetch.mjs"):
            (folder / script).write_bytes((PROGRAMS / script).read_bytes())
    if which("javac") and which("mvn") and not (folder / "classes").exists():
        artifact = f"org.postgresql:postgresql:{DRIVER.removeprefix('postgresql-').removesuffix('.jar')}"
        _run("mvn", "-q", "dependency:copy", f"-Dartifact={artifact}", f"-DoutputDirectory={folder}")
        _run("javac", "-d", str(folder / "classes"), *(str(PROGRAMS / name) for name in ("Query.java", "Get.java")))
    if which("go") and not (folder / "client").exists():
        source = folder / "go"
        source.mkdir(exist_ok=True)
        (source / "main.go").write_bytes((PROGRAMS / "main.go").read_bytes())
        (source / "go.mod").write_text("module client\n\ngo 1.23\n")
        _run("go", "mod", "tidy", at=source)
        _run("env", "CGO_ENABLED=0", "go", "build", "-o", str(folder / "client"), ".", at=source)


def _run(*argv: str, at: Path | None = None) -> None:
    print("+", *argv, flush=True)
    subprocess.run(argv, check=True, cwd=at)
