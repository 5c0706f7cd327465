"""Personal intercepts with real processes: the page's commands, and several people at once behind nginx."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import textwrap
from collections import Counter
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from threading import Event, Thread

from twisted.trial.unittest import TestCase

from tests.process.scenario import HOST, Scenario
from tests.support.processes import ROOT, Process, free_port, gost, listening, needed, optional, rtunnel, wait_until
from tests.support.services import NamedService

FILTERS = {
    "alice": ("header:X-User=alice", "cookie:debug=alice"),
    "bob": ("header:X-User=bob; path^=/api",),
    "carol": ("query:who=carol; !method=POST",),
}
FETCH = """
const found = {address: "127.0.0.1", family: 4};
require("dns").lookup = (_host, options, done) => options.all ? done(null, [found]) : done(null, found.address, found.family);
const requests = JSON.parse(require("fs").readFileSync(0)), answers = [];
async function ask() {
    for (let number; (number = answers.length) < requests.length;) {
        answers.push(null);
        const [method, path, headers] = requests[number];
        const response = await fetch(process.argv[1] + path, {method, headers, body: method === "POST" ? "x" : undefined});
        const text = await response.text();
        answers[number] = method === "GET" ? text : String(response.status);
    }
}
Promise.all(Array.from({length: 20}, ask)).then(() => console.log(JSON.stringify(answers)));
"""
"""Sends requests, twenty at a time; prints who answered each GET, and the status of the others."""
REQUESTS: tuple[tuple[str, str, dict[str, str], str], ...] = (
    # method, path, fields, who may answer besides the pod
    ("GET", "/", {}, ""),
    ("GET", "/", {"X-User": "alice"}, "alice"),
    ("POST", "/api/v1", {"x-user": "alice"}, "alice"),
    ("GET", "/", {"X-User": "alicexx"}, ""),
    ("GET", "/", {"Cookie": "a=b; debug=alice"}, "alice"),
    ("GET", "/", {"Cookie": "a=b; xdebug=alice"}, ""),
    ("GET", "/api/x?y", {"X-User": "bob"}, "bob"),
    ("GET", "/apix", {"X-User": "bob"}, ""),
    ("GET", "/?who=carol", {}, "carol"),
    ("POST", "/?who=carol", {}, ""),
    ("GET", "/api?who=carol", {"X-User": "bob"}, "bob"),
)


def with_ports(text: str, ports: dict[str, str]) -> str:
    """Replace the ports of the page by free ones."""
    return re.sub(r"\b\d{4}\b", lambda found: ports.get(found[0], found[0]), text)


def without_names(text: str) -> str:
    """Replace what differs each time: the IDs of connectors, the name of the pod's client."""
    return re.sub(r"%  \w{8} (\S+@\S+|alice),", "% NAME,", text)


class PeopleTests(Scenario):
    """A pod and three people with filters, behind nginx as Ingress."""

    def intercept(self, name: str) -> Process:
        service = NamedService(name)
        self.addCleanup(service.stop)
        filters = [word for wanted in FILTERS[name] for word in ("--intercept", wanted)]
        client = self.start(
            *("client", "--server", f"ws://127.0.0.1:{self.ingress_port}/proxy", "--host-header", HOST),
            *("--tunnel", self.tunnel, "--target", f"127.0.0.1:{service.port}", "--name", name, *filters),
        )
        client.wait_for("takes the requests with")
        return client

    def visit(self, connection: HTTPConnection, number: int) -> tuple[str, str]:
        """One request; who should have answered if present, and who did."""
        method, path, fields, who = REQUESTS[number % len(REQUESTS)]
        connection.request(method, path, b"x" if method == "POST" else None, {"Host": HOST, **fields})
        response = connection.getresponse()
        body = response.read().decode()
        # the service answers a POST with its body's digest, not with its name
        return who, body if method == "GET" else f"{response.status}"

    def test_each_request_by_itself(self) -> None:
        """On connections that are kept alive, all kinds of requests in turn: each is where its filter says."""
        for name in FILTERS:
            self.intercept(name)
        connection = HTTPConnection("127.0.0.1", self.ingress_port, timeout=20)
        for number in range(40 * len(REQUESTS)):
            who, answer = self.visit(connection, number)
            self.assertIn(answer, (who or "pod", "200"), REQUESTS[number % len(REQUESTS)])
        connection.close()

    def test_node(self) -> None:
        """The same from Node.js' fetch, twenty requests at a time."""
        node = optional("RTUNNEL_TEST_NODE", "node")
        for name in FILTERS:
            self.intercept(name)
        requests = [[method, path, fields] for method, path, fields, _ in REQUESTS * 20]
        done = subprocess.run(
            [node, "-e", FETCH, f"http://{HOST}:{self.ingress_port}"],
            input=json.dumps(requests),
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        answers = json.loads(done.stdout)
        self.assertEqual(len(answers), len(requests))
        for number, answer in enumerate(answers):
            method, _path, _fields, who = REQUESTS[number % len(REQUESTS)]
            self.assertEqual(answer, (who or "pod") if method == "GET" else "200", REQUESTS[number % len(REQUESTS)])

    def test_while_people_come_and_go(self) -> None:
        """While one joins and leaves again and again and is killed, no request ends up with another person."""
        self.intercept("alice")
        astray: list[object] = []
        counts: Counter[str] = Counter()
        over = Event()

        def visit() -> None:
            connection = HTTPConnection("127.0.0.1", self.ingress_port, timeout=20)
            number = 0
            while not over.is_set():
                number += 1
                try:
                    who, answer = self.visit(connection, number)
                except (OSError, HTTPException) as error:
                    connection.close()
                    who, answer = "", repr(error)
                counts[answer] += 1
                if answer not in (who, "pod", "200") or (answer == "pod" and who == "alice"):
                    astray.append((REQUESTS[number % len(REQUESTS)], answer))

        threads = [Thread(target=visit) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            for end in (signal.SIGTERM, signal.SIGKILL):
                bob = self.intercept("bob")
                seen = counts["bob"]
                wait_until(lambda seen=seen: counts["bob"] >= seen + 20, "bob gets his requests")  # type: ignore[misc]
                bob.send(end)
                bob.wait()
                pods = counts["pod"]
                wait_until(lambda pods=pods: counts["pod"] >= pods + 50, "the pod answers")  # type: ignore[misc]
        finally:
            over.set()
            for thread in threads:
                thread.join()
        # what bob was working on when he was killed cannot be answered, or not to its end
        signs = ("50", "Error", "Disconnected", "IncompleteRead")
        lost = [one for one in astray if any(sign in str(one) for sign in signs)]
        self.assertEqual([one for one in astray if one not in lost], [])
        self.assertLessEqual(len(lost), len(threads), lost)

    def test_session(self) -> None:
        """A browser's way: the link, its cookie, the laptop; and out again."""
        curl = needed("curl")
        service = NamedService("alice")
        self.addCleanup(service.stop)
        client = self.start(
            *("client", "--server", f"ws://127.0.0.1:{self.ingress_port}/proxy", "--host-header", HOST),
            *("--tunnel", self.tunnel, "--target", f"127.0.0.1:{service.port}", "--session", "alice"),
        )
        client.wait_for(f"a browser that opens http://{HOST}/?rtunnel-session=alice joins the session")
        browser = [curl, "--silent", "--location", "--cookie", "", "--write-out", "\n"]
        browser += ["--resolve", f"{HOST}:{self.ingress_port}:127.0.0.1"]
        targets = ("/", "/?rtunnel-session=alice", "/a", "/?rtunnel-session=", "/a")
        urls = [f"http://{HOST}:{self.ingress_port}{target}" for target in targets]
        done = subprocess.run([*browser, *urls], capture_output=True, text=True, check=True)
        self.assertEqual(done.stdout.split(), ["pod", "alice", "alice", "pod", "pod"])

    def test_conflict(self) -> None:
        """Who comes second is told who has the requests."""
        self.intercept("alice")
        bob = self.start(
            *("client", "--server", f"ws://127.0.0.1:{self.ingress_port}/proxy", "--host-header", HOST),
            *("--tunnel", self.tunnel, "--target", ":9", "--name", "bob"),
            *("--intercept", "header:X-User=alice; path^=/api"),
        )
        bob.wait_for('are taken by alice with "header:x-user=alice"')
        self.server.wait_for('requests with "header:x-user=alice; path^=/api" are taken by alice')


class PageTests(TestCase):
    """docs/intercepts.md: its commands, on free ports."""

    timeout = 60

    def test_commands(self) -> None:
        needed("curl")
        page = (ROOT / "docs" / "intercepts.md").read_text(encoding="utf-8")
        part = page.partition("## Try it on one machine")[2].partition("\n## ")[0]
        ports = {port: str(free_port()) for port in sorted(set(re.findall(r"(?:127\.0\.0\.1:| (?=800))(\d+)\b", part)))}
        part = with_ports(part, ports)
        blocks = re.findall(r"(?:^    .*\n)+", part, re.MULTILINE)
        folder, admin = self.mktemp(), free_port()
        Path(folder).mkdir()
        *services, curls = (re.sub(r"\\\n", " ", block) for block in blocks)
        for command in services:
            argv = shlex.split(command.strip().rpartition("&&")[2])
            if argv[1:2] == ["server"]:
                # the page asks the only server of the machine, which this one may not be
                argv += ["--admin", f"127.0.0.1:{admin}"]
            for name in re.findall(r"mkdir -p (\w+)", command):
                (Path(folder) / name).mkdir()
                (Path(folder) / name / "index.html").write_text(f"{name}\n")
            process = rtunnel(*argv[1:]) if argv[0] == "rtunnel" else Process(argv, cwd=folder)
            self.addCleanup(process.stop)
            if argv[1:2] == ["server"]:
                process.wait_for("entrypoint on")
            elif argv[0] == "rtunnel":
                process.wait_for("joined tunnel")
            else:
                wait_until(lambda argv=argv: listening(int(argv[-1])), "the service listens")  # type: ignore[misc]
        answers = [
            subprocess.run(shlex.split(line), capture_output=True, text=True, check=True).stdout.strip()
            for line in curls.strip().splitlines()
        ]
        self.assertEqual(answers, ["pod", "alice", "pod"])
        self.check_who_served(page, ports, admin)

    def check_who_served(self, page: str, ports: dict[str, str], admin: int) -> None:
        """The commands of the section print what it shows, but for names and IDs."""
        part = page.partition("\n## Who served this")[2].partition("\n## ")[0]
        blocks = re.findall(r"(?:^    .*\n)+", part, re.MULTILINE)
        environ = {**os.environ, "RTUNNEL_ADMIN": f"127.0.0.1:{admin}"}
        for command, shown in zip(blocks[::2], blocks[1::2], strict=True):
            done = subprocess.run(
                [sys.executable, "-m", *shlex.split(with_ports(command, ports))],
                capture_output=True,
                text=True,
                check=True,
                env=environ,
            )
            expected = with_ports(textwrap.dedent(shown), ports)
            self.assertEqual(without_names(done.stdout), without_names(expected))


class GostTests(TestCase):
    """Beside a gost: a server that does not know intercepts gives nothing away."""

    timeout = 60

    def test_server(self) -> None:
        port, entrypoint = free_port(), free_port()
        tunnel = "6a7cf1d0-1b2e-4a5b-8c9d-0123456789ab"
        server = gost("-L", f"tunnel+ws://127.0.0.1:{port}?entrypoint=127.0.0.1:{entrypoint}&tunnel={HOST}:{tunnel}&path=/proxy")
        self.addCleanup(server.stop)
        wait_until(lambda: listening(port), "gost listens")
        client = rtunnel(
            *("client", "--server", f"ws://127.0.0.1:{port}/proxy", "--tunnel", tunnel, "--target", ":9"),
            *("--intercept", "header:X-User=alice"),
        )
        self.addCleanup(client.stop)
        client.wait_for("a server that does not know intercepts may close the connection")
        self.assertNotIn("joined", client.output)
