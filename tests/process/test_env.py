"""``rtunnel env`` and ``rtunnel pod-env`` with real processes: a pod's environment on a laptop, exactly, and who gets it."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

from tests.process.test_users import HOST, _Case, user_line
from tests.support.processes import listening, rtunnel, run_rtunnel, wait_until

KEY = "-----BEGIN KEY-----\n$(id) `id` 'it''s' \"x\" \\\n-----END KEY-----\n"
POD = {
    "PATH": os.environ["PATH"],
    "DATABASE_HOST": "postgres",
    "DATABASE_URL": "postgres://postgres:5432/shop",
    "LOG_LEVEL": "info",
    "TLS_KEY": KEY,
    "DB_PASSWORD": "swordfish",
    "API_TOKEN": "xyz",
    "KUBERNETES_SERVICE_HOST": "10.96.0.1",
}


class EnvTests(_Case):
    def setUp(self) -> None:
        super().setUp()
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        users = "".join(user_line(user, f"secret of {user}") for user in ("pod", "alice", "bob"))
        (self.folder / "users").write_text(users)
        (self.folder / "permissions").write_text(f"bind pod {HOST}\nenv alice {HOST}\nreach,bind bob {HOST}\n")
        self.server = self.started(
            rtunnel(
                *("server", "--listen", f"127.0.0.1:{self.tunnel_port}", "--entrypoint", f"127.0.0.1:{self.port}"),
                *("--route", f"{HOST}={self.tunnel}", "--users", str(self.folder / "users")),
                *("--permissions", str(self.folder / "permissions")),
            )
        )
        wait_until(lambda: listening(self.port), f"the server listens\n{self.server.output}")
        self.document = self.folder / "env.json"
        sources = ("--from", "secret/db=DB_PASSWORD,TLS_KEY", "--from", "configmap/app=LOG_LEVEL", "--from", "value=DATABASE_*")
        argv = [sys.executable, "-m", "rtunnel", "pod-env", "--output", str(self.document), *sources]
        environment = {**POD, "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
        subprocess.run(argv, env=environment, check=True, timeout=60)
        self.pod = self.started(
            rtunnel(
                *("client", "--server", f"127.0.0.1:{self.tunnel_port}", "--tunnel", self.tunnel),
                *("--target", f"127.0.0.1:{self.service.port}", "--env-source", str(self.document)),
                *("--env-allow-secret", "TLS_KEY"),
                env={"RTUNNEL_AUTH": "pod:secret of pod"},
            )
        )
        self.pod.wait_for("is known to others as")

    def env(self, *arguments: str, user: str = "alice", status: int = 0, **local: str) -> str:
        """Run the command; its output, or what it says of a failure."""
        where = ("--server", f"127.0.0.1:{self.tunnel_port}", "--tunnel", self.tunnel)
        done = run_rtunnel("env", HOST, *where, *arguments, env={"RTUNNEL_AUTH": f"{user}:secret of {user}", **local})
        self.assertEqual(done.returncode, status, done.stderr)
        self.assertNotIn("Traceback", done.stderr)
        return done.stdout if status == 0 else done.stderr

    def test_list(self) -> None:
        """Names and sources; no value of any."""
        self.assertEqual(stat.S_IMODE(self.document.stat().st_mode), 0o600)
        listed = {line.split()[0]: line for line in self.env().splitlines()}
        self.assertEqual(set(listed), {"name", "API_TOKEN", "DATABASE_HOST", "DATABASE_URL", "DB_PASSWORD", "LOG_LEVEL", "TLS_KEY"})
        self.assertIn("secret/db", listed["DB_PASSWORD"])
        self.assertIn("kept back", listed["DB_PASSWORD"])
        self.assertIn("kept back", listed["API_TOKEN"])
        self.assertIn("configmap/app", listed["LOG_LEVEL"])
        for value in ("swordfish", "postgres:", "BEGIN"):
            self.assertNotIn(value, "".join(listed.values()))

    def test_a_shell(self) -> None:
        """What the application has is what a program on the laptop gets."""
        file = self.folder / "pod.sh"
        self.assertEqual(self.env("--format", "sh", "-o", str(file)), "")
        self.assertEqual(stat.S_IMODE(file.stat().st_mode), 0o600)
        script = f'. {file}; exec {sys.executable} -c "import os, json; print(json.dumps(dict(os.environ)))"'
        done = subprocess.run(["/bin/sh", "-c", script], env={"PATH": POD["PATH"]}, capture_output=True, check=True, timeout=60)
        found = json.loads(done.stdout)
        given = ("DATABASE_HOST", "DATABASE_URL", "LOG_LEVEL", "TLS_KEY")
        expected = {name: POD[name] for name in given} | {"DB_PASSWORD": None}
        self.assertEqual({name: found.get(name) for name in expected}, expected)
        self.pod.wait_for("alice gets values of the environment of the pod: DATABASE_HOST, DATABASE_URL, LOG_LEVEL, TLS_KEY")
        self.server.wait_for("env of alice by connector")
        self.assertNotIn("BEGIN KEY", self.pod.output + self.server.output)

    def test_secrets_on_stdout(self) -> None:
        """Only where that is asked for."""
        error = self.env("--format", "json", status=1)
        self.assertIn("these are values of Secrets, or may be: TLS_KEY; write them to a file with -o FILE", error)
        self.assertEqual(json.loads(self.env("--format", "json", "--show"))["TLS_KEY"], KEY)
        self.assertNotIn("TLS_KEY", json.loads(self.env("--format", "json", "--exclude", "TLS_*")))

    def test_precedence(self) -> None:
        """Command line, file, pod, machine; it can be explained."""
        (self.folder / ".env").write_text("LOG_LEVEL=file\nDATABASE_HOST=localhost\n")
        file = ("--env-file", str(self.folder / ".env"))
        more = ("--exclude", "TLS_*", *file, "--set", "LOG_LEVEL=trace", "--rename", "DATABASE_URL=URL")
        found = json.loads(self.env("--format", "json", *more))
        self.assertEqual(found, {"LOG_LEVEL": "trace", "DATABASE_HOST": "localhost", "URL": POD["DATABASE_URL"]})
        explained = self.env("--explain", *more, LOG_LEVEL="warn").splitlines()
        self.assertEqual(
            explained,
            [
                "DATABASE_HOST: --env-file, before the pod (value)",
                "LOG_LEVEL: --set, before --env-file, the pod (configmap/app), this machine",
                "URL: the pod (value, as DATABASE_URL)",
            ],
        )
        self.assertEqual(json.loads(self.env("--format", "json", "--include", "LOG_*", "--local-wins", LOG_LEVEL="warn")), {})

    def test_rewritten(self) -> None:
        """An address of the pod becomes that of a forward; it can be explained."""
        more = ("--exclude", "TLS_*", "--rewrite", "15432:postgres:5432")
        found = json.loads(self.env("--format", "json", *more))
        self.assertEqual(found["DATABASE_URL"], "postgres://127.0.0.1:15432/shop")
        explained = self.env("--explain", "DATABASE_URL", *more)
        self.assertEqual(explained, "DATABASE_URL: the pod (value); replaced: postgres:5432 by 127.0.0.1:15432\n")
        self.assertIn("is no forward", self.env("--rewrite", "postgres", status=1))

    def test_docker(self) -> None:
        error = self.env("--format", "docker", "--show", status=1)
        self.assertIn("the format docker cannot hold TLS_KEY (no line ends", error)

    def test_rights(self) -> None:
        """The right to reach is none to read, nor is the right to join."""
        error = self.env(user="bob", status=1)
        self.assertIn("the permissions of the server do not allow the user bob to read the environment of this pod", error)
        self.server.wait_for("env of bob in tunnel")
