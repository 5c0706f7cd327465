"""``rtunnel check``."""

from __future__ import annotations

import os
from pathlib import Path

from rtunnel.__main__ import main
from tests.commands.harness import CommandTestCase

EXAMPLES = Path(__file__).parent.parent.parent / "examples"


FOR_KUBECTL = ("sidecar", "server-configmap")
"""What is no configuration file of rtunnel; tests.deploy.test_examples checks these."""


class CheckTests(CommandTestCase):
    def test_examples(self) -> None:
        """All of them; what they warn of is that everybody knows their IDs."""
        said = {
            "server": "a server; clients connect to ws://*:8421/proxy and tcp://127.0.0.1:8422, visitors to *:80, ",
            "client": "a client; joins tunnel 10bc451e at ws://192.168.1.1:80/proxy with weight 1",
            "rtunnel.dev": "works on shop.example.org, a client; joins tunnel 10bc451e at wss://shop.example.org:443/proxy",
            "visitor": "a visitor; visits ssh.svc of tunnel 2f1c1d2e at ws://proxy.example.org:80 from 127.0.0.1:2222",
        }
        ours = {path.stem for path in EXAMPLES.glob("*.yaml") if not path.stem.startswith(FOR_KUBECTL)}
        self.assertEqual(ours, set(said))
        for name, words in said.items():
            self.out.truncate(0)
            self.err.truncate(0)
            self.assertEqual(main(["check", str(EXAMPLES / f"{name}.yaml")]), 0)
            self.assertIn(f"{name}.yaml: valid: {words}", self.out.getvalue())
            self.assertEqual(self.out.getvalue().count("\n"), 1)
            self.assertIn("is an ID of the examples", self.err.getvalue().splitlines()[-1])

    def test_bad(self) -> None:
        path = self.write("listeners:\n- listen: 80\n  foo: bar\n")
        self.assertEqual(main(["check", path]), 1)
        lines = self.err.getvalue().splitlines()
        self.assertEqual([line.partition(": ")[0] for line in lines], [f"{path}:2", f"{path}:3"])
        self.assertEqual(self.out.getvalue(), "")

    def test_as(self) -> None:
        path = self.write("drain: 5s\n")
        self.assertEqual(main(["check", path]), 1)
        self.assertIn("do not tell", self.err.getvalue())
        self.assertEqual(main(["check", "--as", "client", path]), 1)
        self.assertIn(f"{path}: server: missing", self.err.getvalue())

    def test_environment_counts(self) -> None:
        """As it does at the start."""
        path = self.write("tunnel: 10bc451e-59dc-4c70-999e-91a30813ac78\ntarget: :80\n")
        self.assertEqual(main(["check", path]), 1)
        os.environ["RTUNNEL_SERVER"] = "proxy:1"
        os.environ["RTUNNEL_TARGTE"] = "x"
        self.assertEqual(main(["check", path]), 0)
        self.assertIn("at ws://proxy:1/ws", self.out.getvalue())
        self.assertIn("warning: unknown variable RTUNNEL_TARGTE", self.err.getvalue())

    def test_files_that_it_names(self) -> None:
        """Files that are otherwise read at the start are read here as well."""
        uuid = "10bc451e-59dc-4c70-999e-91a30813ac78"
        server = f"listen: wss://:8421\nentrypoint: :80\nroute: a={uuid}\nself-signed: true\n".replace("self", "tls:\n  self")
        for key, text, words in [
            ("users", "me", "me"),
            ("routes-file", "a.local", "a.local"),
        ]:
            with self.subTest(key=key):
                named = Path(self.write(text)).resolve()
                self.assertEqual(main(["check", self.write(f"{server}{key}: {named}\n")]), 1)
                self.assertIn(f"{named}:1", self.err.getvalue())
                self.assertIn(words, self.err.getvalue())
        missing = server.replace("self-signed: true", "cert-file: /nowhere.pem")
        self.assertEqual(main(["check", self.write(missing)]), 1)
        self.assertIn("/nowhere.pem", self.err.getvalue())
        self.assertEqual(main(["check", self.write(server)]), 0)

    def test_many_are_counted(self) -> None:
        uuid = "10bc451e-59dc-4c70-999e-91a30813ac78"
        ports = "\n".join(f"- :{port}" for port in range(1, 8))
        self.assertEqual(main(["check", self.write(f"listen: :8421\nroute: a={uuid}\nentrypoints:\n{ports}\n")]), 0)
        self.assertIn("visitors to *:1, *:2, *:3 and 4 more, 1 rule for 1 tunnel", self.out.getvalue())

    def test_wrong_arguments(self) -> None:
        self.assertEqual(self.assertRaises(SystemExit, main, ["check"]).code, 1)
        self.assertIn("rtunnel check: the following arguments are required: FILE", self.err.getvalue())
