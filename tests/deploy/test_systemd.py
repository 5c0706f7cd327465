"""The units of deploy/systemd: silent under ``systemd-analyze verify``, hardened, and started with options that we have."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from rtunnel.settings import Address, ClientSettings, ServerSettings
from rtunnel.tap import Options

FOLDER = Path(__file__).parent.parent.parent / "deploy" / "systemd"
SERVER, CLIENT, SOCKET = "rtunnel-server.service", "rtunnel-client@.service", "rtunnel-server.socket"
REPLICA = "rtunnel-server@.service"
PROGRAM = "/opt/rtunnel/bin/rtunnel"
EXPOSURE = 2.0
"""The most that systemd may find fault with."""


def unit(name: str) -> dict[str, list[str]]:
    """Return the values of each key of a unit; no key stands in two sections."""
    values: dict[str, list[str]] = {}
    for line in (FOLDER / name).read_text(encoding="utf-8").splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            values.setdefault(key, []).append(value)
    return values


class AnalyzeTests(SynchronousTestCase):
    """What systemd itself says of the units."""

    def analyze(self, name: str, *words: str, activates: str = "") -> tuple[str, str]:
        """Run systemd-analyze on a copy in which the programs are ones that exist on every machine.

        :param activates: the service of a socket.
        """
        program = shutil.which("systemd-analyze")
        if program is None:
            raise SkipTest("systemd-analyze is not installed: apt-get install systemd")
        folder = Path(self.mktemp())
        folder.mkdir(parents=True)
        shutil.copy(FOLDER / name, folder)
        service = folder / (activates or name)
        text = (FOLDER / service.name).read_text(encoding="utf-8")
        for path in (PROGRAM, "/bin/kill"):
            self.assertIn(path, text)
            text = text.replace(path, sys.executable)
        service.write_text(text, encoding="utf-8")
        done = subprocess.run(
            [program, *words, f"./{name}"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "SYSTEMD_COLORS": "0", "LC_ALL": "C.UTF-8", "SYSTEMD_PAGER": "cat"},
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout, done.stderr

    def test_verify(self) -> None:
        """An unknown key is a warning and exit status 0, so the words count."""
        for name in (SERVER, REPLICA, CLIENT):
            self.assertEqual(self.analyze(name, "verify"), ("", ""))
        self.assertEqual(self.analyze(SOCKET, "verify", activates=SERVER), ("", ""))

    def test_exposure(self) -> None:
        for name in (SERVER, REPLICA, CLIENT):
            output, _errors = self.analyze(name, "security", "--offline=true", "--no-pager")
            found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", output)
            assert found is not None, output
            self.assertLessEqual(float(found[1]), EXPOSURE, output)


class UnitTests(SynchronousTestCase):
    def test_start(self) -> None:
        self.assertEqual(unit(SERVER)["ExecStart"], [f"{PROGRAM} server"])
        self.assertEqual(unit(CLIENT)["ExecStart"], [f"{PROGRAM} client"])
        for name in (SERVER, CLIENT):
            self.assertEqual(unit(name)["Type"], ["notify"])
            self.assertEqual(unit(name)["ExecReload"], ["/bin/kill -HUP $MAINPID"])
            self.assertNotIn("PIDFile", unit(name))
            self.assertEqual(unit(name)["DynamicUser"], ["yes"])

    def test_restart(self) -> None:
        self.assertEqual(unit(SERVER)["Restart"], ["on-failure"])
        self.assertEqual(unit(CLIENT)["Restart"], ["always"])
        self.assertEqual(unit(CLIENT)["StartLimitIntervalSec"], ["0"])

    def test_one_of_several_is_a_server_like_another(self) -> None:
        """But for its own files, and the secret by which the servers know each other."""
        one, several = unit(SERVER), unit(REPLICA)
        self.assertEqual(several.pop("LoadCredential"), ["peer-secret:/etc/rtunnel/peer-secret"])
        self.assertEqual(several.pop("Environment"), ["RTUNNEL_PEER_SECRET_FILE=/run/credentials/%n/peer-secret"])
        differing = {key for key in one.keys() | several.keys() if one.get(key) != several.get(key)}
        self.assertEqual(differing, {"Description", "EnvironmentFile", "RuntimeDirectory"})
        self.assertEqual(several["EnvironmentFile"], ["/etc/rtunnel/server-%i.env"])

    def test_a_client_waits_for_its_server(self) -> None:
        self.assertEqual(unit(CLIENT)["TimeoutStartSec"], ["infinity"])

    def test_privileges(self) -> None:
        self.assertEqual(unit(SERVER)["AmbientCapabilities"], ["CAP_NET_BIND_SERVICE"])
        self.assertEqual(unit(SERVER)["CapabilityBoundingSet"], ["CAP_NET_BIND_SERVICE"])
        self.assertNotIn("AmbientCapabilities", unit(CLIENT))
        self.assertEqual(unit(CLIENT)["CapabilityBoundingSet"], [""])


class OptionTests(SynchronousTestCase):
    """Our own parser reads the example files as systemd would set them."""

    def settings(self, name: str, command: str, file: str) -> Any:
        self.assertEqual(unit(name)["ExecStart"], [f"{PROGRAM} {command}"])
        lines = (FOLDER / file).read_text(encoding="utf-8").splitlines()
        self.patch(os, "environ", dict(line.split("=", 1) for line in lines if line and not line.startswith("#")))
        options = Options()
        options.parseOptions([command])
        asked = options.subOptions.resolved
        self.assertEqual(asked.warnings, ())
        return asked.settings

    def test_server(self) -> None:
        self.assertEqual(unit(SERVER)["EnvironmentFile"], ["/etc/rtunnel/server.env"])
        settings = self.settings(SERVER, "server", "server.env")
        assert isinstance(settings, ServerSettings)
        (listener,) = settings.listeners
        self.assertEqual((listener.listen, listener.path), (Address("", 8421), "/proxy"))
        self.assertEqual(listener.entrypoints, (Address("", 80),))
        self.assertEqual(settings.admin, Address("127.0.0.1", 8480))
        ports = [f"{address.port}" for address in (listener.listen, *listener.entrypoints) if address is not None]
        self.assertEqual(unit(SOCKET)["ListenStream"], ports)
        self.assertLess(settings.stop_delay + settings.drain, float(unit(SERVER)["TimeoutStopSec"][0]))

    def test_several_servers(self) -> None:
        """They have no port in common, and everything else."""
        one, two = (self.replica(name) for name in ("one", "two"))
        ports = [address.port for settings in (one, two) for _, address in settings._addresses()]
        self.assertEqual(len(ports), len(set(ports)))
        self.assertEqual(one.registry, two.registry)
        self.assertEqual(one.listeners[0].rules, two.listeners[0].rules)
        self.assertLess(one.stop_delay + one.drain, float(unit(REPLICA)["TimeoutStopSec"][0]))

    def replica(self, name: str) -> ServerSettings:
        """The settings of one of several servers; systemd adds the file of the secret to its variables."""
        text = (FOLDER / f"server-{name}.env").read_text(encoding="utf-8")
        lines = [*text.splitlines(), "RTUNNEL_PEER_SECRET_FILE=/run/credentials/rtunnel-server@one.service/peer-secret"]
        self.patch(os, "environ", dict(line.split("=", 1) for line in lines if line and not line.startswith("#")))
        options = Options()
        options.parseOptions(["server"])
        settings = options.subOptions.resolved.settings
        assert isinstance(settings, ServerSettings)
        return settings

    def test_client(self) -> None:
        self.assertEqual(unit(CLIENT)["EnvironmentFile"], ["/etc/rtunnel/%i.env"])
        settings = self.settings(CLIENT, "client", "laptop.env")
        assert isinstance(settings, ClientSettings)
        (connector,) = settings.connectors
        self.assertEqual((connector.server, connector.host), (Address("192.168.1.1", 80), "nginx.local"))
        self.assertEqual((str(connector.target), connector.weight), ("localhost:80", 1))
        self.assertLess(settings.drain, float(unit(CLIENT)["TimeoutStopSec"][0]))

    def test_example_files_have_all_variables_with_our_prefix(self) -> None:
        for file in FOLDER.glob("*.env"):
            names = re.findall(r"^(?!#)([^=\n]*)=", file.read_text(encoding="utf-8"), re.MULTILINE)
            self.assertTrue(names)
            self.assertTrue(all(name.startswith("RTUNNEL_") for name in names), names)
