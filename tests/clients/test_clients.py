"""The table of docs/reach.md: which programs reach what under `rtunnel run`, by name and by a variable, in each tier.

Measured are the programs that are here: those of Debian in the suite; with RTUNNEL_TEST_CLIENTS, the folder of ``make clients``,
all of them.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from unittest import SkipTest

from tests.clients.catalogue import CLIENTS
from tests.process.test_reach import _Reaching
from tests.process.test_users import HOST
from tests.support.nobody import as_nobody
from tests.support.pod_network import PodNetwork
from tests.support.processes import ROOT, Process, free_port, wait_until
from tests.test_docs import DOCS, rows

HEAD = ("program", "names", "net", "none, by a variable", "none, by the proxy")
FOLDER = "RTUNNEL_TEST_CLIENTS"

Works = dict[str, tuple[bool, bool]]
"""By program: whether it works by the name that the pod has, and by a variable of the pod."""


class ClientTests(_Reaching):
    listen = "0.0.0.0"
    permissions = f"bind pod {HOST}\nreach,env alice {HOST}\n"

    def setUp(self) -> None:
        self.network = PodNetwork()
        self.addCleanup(self.network.close)
        super().setUp()
        self.said: list[str] = []
        self.started(self.network.serve({})).wait_for("ready")
        self.redis(self.network)
        self.has_postgres = self.start_postgres()
        environment = "".join(f'{client.variable}="{client.url}"\n' for client in CLIENTS)
        (self.folder / "pod.env").write_text(environment)
        argv = [
            *(sys.executable, "-m", "rtunnel", "client", "--server", f"{self.network.gateway}:{self.tunnel_port}"),
            *("--tunnel", self.tunnel, "--target", f"127.0.0.1:{self.service.port}"),
            *("--reach", "postgres:5432,redis.shop.svc:6379,web:80,web:8080"),
            *("--env-source", str(self.folder / "pod.env"), "--env-allow-secret", "*"),
        ]
        pod: Process = self.started(self.network.in_pod(*argv, env={"RTUNNEL_AUTH": "pod:secret of pod"}))
        pod.wait_for("is known to others as")
        self.session = Path(tempfile.mkdtemp(prefix="rtunnel-session-"))
        self.addCleanup(shutil.rmtree, self.session, ignore_errors=True)
        shutil.chown(self.session, "nobody")

    def start_postgres(self) -> bool:
        """Whether there is a PostgreSQL, which is ready then."""
        try:
            postgres = self.postgres(self.network)
        except SkipTest:
            return False
        wait_until(lambda: "ready to accept connections" in postgres.output, "PostgreSQL is ready")
        return True

    def works(self, *words: str) -> Works:
        """Run all programs in a tier, as a user who is not root."""
        argv = (
            *as_nobody(),
            *(sys.executable, "-m", "rtunnel", "run", HOST, "--server", f"127.0.0.1:{self.tunnel_port}", "--tunnel", self.tunnel),
            *(*words, "--", sys.executable, "-m", "tests.clients.inside", os.environ.get(FOLDER, "/nonexistent")),
        )
        path = os.pathsep.join((str(ROOT), os.environ.get("PYTHONPATH", "")))
        env = {"RTUNNEL_AUTH": "alice:secret of alice", "XDG_RUNTIME_DIR": str(self.session), "PYTHONPATH": path, "HOME": "/"}
        done = self.run_tool(*argv, env=env, timeout=300)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.said += done.stdout.splitlines()
        found = map(json.loads, done.stdout.splitlines())
        return {name: (by_name, by_variable) for name, (by_name, _), (by_variable, _) in found}

    def test_table(self) -> None:
        names, net = self.works("--isolate", "names"), self.works("--isolate", "net")
        none = self.works("--isolate", "none")
        proxied = self.works("--isolate", "none", "--proxy", f"127.0.0.1:{free_port()}")
        measured = {
            name: [_word(names[name][0]), _word(net[name][0]), _word(none[name][1]), _word(proxied[name][0])]
            for name in names
            if self.has_postgres or not name.startswith(("ps", "node-p", "JDBC", "pgx"))
        }
        listed = {row[0]: row[1:] for row in rows(DOCS / "reach.md", *HEAD)}
        table = [f"| {name} | {' | '.join(words)} |" for name, words in measured.items()]
        self.assertEqual({name: listed.get(name) for name in measured}, measured, "\n".join([*self.said, *table]))
        self.assertGreaterEqual(set(listed), set(measured))
        if os.environ.get(FOLDER):
            self.assertEqual(set(listed), set(measured), "a program is missing here")


def _word(works: bool) -> str:
    return "yes" if works else "no"
