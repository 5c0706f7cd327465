"""The registry that the settings ask for."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.registry.opening import open_registry
from rtunnel.settings import Address, RegistryAddress, RegistrySettings, SettingsError


class OpeningTests(SynchronousTestCase):
    def test_none(self) -> None:
        self.assertIsNone(open_registry(RegistrySettings(), Clock()))

    def test_redis(self) -> None:
        settings = RegistrySettings(address=RegistryAddress(scheme="redis", hosts=(Address("cache", 6379),)))
        registry = open_registry(settings, Clock())
        assert registry is not None
        self.assertFalse(registry.available)

    def test_settings(self) -> None:
        """A password is shown nowhere; what needs a registry, or TLS, says so."""
        address = RegistryAddress(scheme="redis", hosts=(Address("cache", 6379),))
        self.assertNotIn("s3cret", repr(RegistrySettings(address=address, password="s3cret")))
        self.assertIn("needs a registry", str(self.assertRaises(SettingsError, RegistrySettings, password="s3cret")))
        error = self.assertRaises(SettingsError, RegistrySettings, address=address, ca_file="ca.pem")
        self.assertIn("needs TLS", str(error))
        for prefix in ("", "a b", "x" * 101):
            self.assertRaises(SettingsError, RegistrySettings, address=address, prefix=prefix)
