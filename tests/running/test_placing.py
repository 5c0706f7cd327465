"""Which files of a pod may be at their paths: none may stand in for what this machine has, whatever the pod says."""

from __future__ import annotations

import os
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.running.placing import place

OWN = ("/home/alice", "/work/shop")
THERE = {"/", "/home", "/home/alice", "/etc", "/etc/nginx", "/opt", "/work", "/work/shop", "/run", "/usr/local"}


class PlacingTests(SynchronousTestCase):
    def reason(self, path: str, *allowed: str) -> str | None:
        """Why a path is refused; None if it is not."""
        places = place([path], own=OWN, allowed=allowed, real=os.path.normpath, exists=THERE.__contains__)
        self.assertEqual(bool(places.exact), not places.elsewhere)
        return places.elsewhere.get(path)

    def test_new(self) -> None:
        for path in ("/config", "/var/run/secrets/kubernetes.io/serviceaccount", "/etc/shop", "/opt/shop/config", "/data"):
            self.assertIsNone(self.reason(path), path)

    def test_refused(self) -> None:
        for path, words in (
            ("/etc/nginx", "it is there on this machine"),
            ("/etc", "it is there on this machine"),
            ("/home/alice/.ssh", "it is yours"),
            ("/home/alice/new", "it is yours"),
            ("/home", "it is yours"),
            ("/work/shop/config", "it is yours"),
            ("/usr/local/new", "programs are there"),
            ("/usr/lib/python3/dist-packages/new", "programs are there"),
            ("/bin", "programs are there"),
            ("/lib64/new", "programs are there"),
            ("/proc/1", "programs are there"),
            ("/dev/shm/new", "programs are there"),
            ("/nix/store/x", "programs are there"),
        ):
            self.assertEqual(self.reason(path), words, path)
            self.assertIsNone(self.reason(path, path))

    def test_at_the_root(self) -> None:
        """A user whose home it is, or who works there, has files of the pod all the same."""
        places = place(["/config", "/usr/new"], own=("/", "/home/alice"), real=str, exists=lambda path: False)
        self.assertEqual(places.exact, ("/config",))

    def test_allowed_is_that_path_only(self) -> None:
        self.assertIsNotNone(self.reason("/etc/nginx", "/etc"))
        self.assertIsNotNone(self.reason("/usr/local/new", "/usr"))

    def test_links_of_this_machine(self) -> None:
        """What counts is where a path leads here."""
        folder = Path(self.mktemp()).absolute()
        (folder / "home").mkdir(parents=True)
        (folder / "link").symlink_to(folder / "home")
        places = place([f"{folder}/link/new", f"{folder}/new"], own=(str(folder / "home"),))
        self.assertEqual(places.exact, (f"{folder}/new",))
        (folder / "programs").symlink_to("/usr/bin")
        self.assertEqual(place([f"{folder}/programs/new"], own=()).exact, ())

    def test_within_another(self) -> None:
        """The copy of the outer one has it."""
        places = place(["/config/tls", "/config", "/config2"], own=(), real=str, exists=lambda path: False)
        self.assertEqual(places.exact, ("/config", "/config2"))
        places = place(["/config/tls", "/config"], own=(), real=str, exists=lambda path: path == "/config")
        self.assertEqual(places.exact, ("/config/tls",))

    @given(st.lists(st.sampled_from(("usr", "home", "alice", "etc", "a", "nginx", "lib", "work", "shop")), min_size=1, max_size=4))
    def test_nothing_is_covered(self, parts: list[str]) -> None:
        """Nothing that is here, nothing of the user, no program, and nothing above them."""
        path = "/" + "/".join(parts)
        (exact, *_) = place([path], own=OWN, real=str, exists=THERE.__contains__).exact or ("",)
        if exact:
            covered = [there for there in (*THERE, *OWN, "/usr") if there == exact or there.startswith(f"{exact}/")]
            self.assertEqual(covered, [])
            self.assertFalse(exact.startswith(("/usr/", "/home/alice/", "/work/shop/", "/lib")))
