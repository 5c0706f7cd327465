"""The settings: one model for configuration files, the environment, the command line and gost's URLs.

The classes are plain frozen values, validated when they are made. Nothing here opens a file, resolves a name or knows where a value
came from: an invalid one raises :class:`SettingsError` with the *field's* name as its key, and the code that parsed the value
(:mod:`rtunnel.options`) raises it again with the name and the text that the user gave.

All times are seconds, all sizes bytes.
"""

from __future__ import annotations

from rtunnel.settings.access_log import AccessLogSettings
from rtunnel.settings.address import Address, UdpAddress
from rtunnel.settings.checks import SettingsError, SettingsErrors
from rtunnel.settings.client import ClientSettings, ConnectorSettings, ServerConnectionSettings, VisitorSettings
from rtunnel.settings.credentials import Credentials
from rtunnel.settings.dev import DevSettings, EnvironmentWishes, ReachWishes
from rtunnel.settings.entrypoint import EntrypointSettings
from rtunnel.settings.health import HealthSettings
from rtunnel.settings.http import HttpSettings
from rtunnel.settings.leases import LeaseSettings
from rtunnel.settings.limits import LimitSettings
from rtunnel.settings.local_forward import LocalForward
from rtunnel.settings.mux import MuxSettings
from rtunnel.settings.peers import PeerSettings
from rtunnel.settings.pod_env import PodEnvSettings
from rtunnel.settings.pod_files import FileRoot
from rtunnel.settings.proxy import PROXY_PORTS, ProxySettings
from rtunnel.settings.registry import RegistryAddress, RegistrySettings
from rtunnel.settings.server import ListenerSettings, ServerSettings
from rtunnel.settings.targets import ForwardSettings, Target, TargetList, UnixSocket
from rtunnel.settings.tls import ClientTls, ServerTls
from rtunnel.settings.transports import SECURE, TRANSPORTS, WEBSOCKETS
from rtunnel.settings.udp import UdpSettings

__all__ = [
    "PROXY_PORTS",
    "SECURE",
    "TRANSPORTS",
    "WEBSOCKETS",
    "AccessLogSettings",
    "Address",
    "ClientSettings",
    "ClientTls",
    "ConnectorSettings",
    "Credentials",
    "DevSettings",
    "EntrypointSettings",
    "EnvironmentWishes",
    "FileRoot",
    "ForwardSettings",
    "HealthSettings",
    "HttpSettings",
    "LeaseSettings",
    "LimitSettings",
    "ListenerSettings",
    "LocalForward",
    "MuxSettings",
    "PeerSettings",
    "PodEnvSettings",
    "ProxySettings",
    "ReachWishes",
    "RegistryAddress",
    "RegistrySettings",
    "ServerConnectionSettings",
    "ServerSettings",
    "ServerTls",
    "SettingsError",
    "SettingsErrors",
    "Target",
    "TargetList",
    "UdpAddress",
    "UdpSettings",
    "UnixSocket",
    "VisitorSettings",
]
