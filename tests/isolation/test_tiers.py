"""Which tier is tried, and which setting is named when it is refused."""

from __future__ import annotations

import errno
from functools import partial

from twisted.trial.unittest import SynchronousTestCase

from rtunnel.cli.exit_status import CommandError
from rtunnel.isolation.tiers import Tier, Wish, first_choice, first_unprivileged_port, why_refused
from rtunnel.running.isolating import tiers_to_try


class ChoiceTests(SynchronousTestCase):
    def test_by_ports(self) -> None:
        for wish, ports, first, expected in (
            (Wish.AUTO, (5432, 6379), 1024, Tier.NAMES),
            (Wish.AUTO, (), 1024, Tier.NAMES),
            (Wish.AUTO, (5432, 80), 1024, Tier.NET),
            (Wish.AUTO, (5432, 80), 80, Tier.NAMES),
            (Wish.AUTO, (5432, 80), 0, Tier.NAMES),
            (Wish.NAMES, (80,), 1024, Tier.NAMES),
            (Wish.NONE, (80,), 1024, Tier.NONE),
            (Wish.NET, (), 0, Tier.NET),
        ):
            self.assertIs(first_choice(wish, ports, first), expected, (wish, ports, first))

    def test_by_platform(self) -> None:
        self.assertEqual(tiers_to_try(Wish.AUTO, Tier.NET, "linux"), [Tier.NET, Tier.NONE])
        self.assertEqual(tiers_to_try(Wish.NAMES, Tier.NAMES, "linux"), [Tier.NAMES])
        for wish in (Wish.AUTO, Wish.NONE):
            self.assertEqual(tiers_to_try(wish, Tier.NAMES, "darwin"), [Tier.NONE])
        for wish in (Wish.NAMES, Wish.NET):
            error = self.assertRaises(CommandError, tiers_to_try, wish, Tier(wish.value), "darwin")
            self.assertIn("on Linux only; use --isolate none", str(error))

    def test_first_port(self) -> None:
        self.assertEqual(first_unprivileged_port(lambda path: "80"), 80)
        self.assertEqual(first_unprivileged_port(lambda path: ""), 1024)


class RefusalTests(SynchronousTestCase):
    def test_setting(self) -> None:
        apparmor, most, clone = (
            "sys/kernel/apparmor_restrict_unprivileged_userns",
            "sys/user/max_user_namespaces",
            "sys/kernel/unprivileged_userns_clone",
        )
        for number, settings, words in (
            (errno.EACCES, {apparmor: "1", most: "1000"}, "kernel.apparmor_restrict_unprivileged_userns is 1; set it to 0"),
            (errno.ENOSPC, {most: "0"}, "user.max_user_namespaces is 0; set it to"),
            (errno.ENOSPC, {most: "5"}, "user.max_user_namespaces is reached; raise it"),
            (errno.EPERM, {clone: "0", most: "5"}, "kernel.unprivileged_userns_clone is 0; set it to 1"),
            (errno.EPERM, {apparmor: "0", most: "5"}, "a seccomp profile, as containers have it"),
            (errno.EINVAL, {}, "this kernel has no user namespaces"),
        ):
            self.assertIn(words, why_refused(number, partial(_setting, settings)))


def _setting(settings: dict[str, str], path: str) -> str:
    return settings.get(path, "")
