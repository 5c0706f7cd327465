"""The commands, one in each file; :data:`COMMANDS` is the table of them, in the order of ``rtunnel --help``.

A new command is a file here and a row in the table. What the file contains depends on the kind of the command, of which there are
three in :mod:`rtunnel.cli.command`; what commands share is in :mod:`rtunnel.cli`.
"""

from __future__ import annotations

from rtunnel.cli.command import Command, PlainCommand, ReactorCommand, ServiceCommand

__all__ = ["COMMANDS", "find"]

COMMANDS: tuple[Command, ...] = (
    ServiceCommand("server", "accept clients and visitors, and distribute the visitors' requests among the clients"),
    ServiceCommand("client", "join a tunnel of a server and forward its requests to a local service"),
    ServiceCommand("visitor", "open a local port that leads to a private tunnel, for SSH for example"),
    ReactorCommand("list", "show who has joined the tunnels of a server: their leases"),
    ReactorCommand("who", "show who serves a host"),
    ReactorCommand("release", "give one's own lease back"),
    ReactorCommand("renew", "keep one's own lease for longer"),
    ReactorCommand("take", "get the lease of somebody who does not need it"),
    ReactorCommand("revoke", "end somebody else's lease; needs the right admin"),
    ReactorCommand("env", "list the environment of a host's pod, or write it for a shell or tool"),
    ReactorCommand("files", "list files of a host's pod, get one, or keep a copy of them"),
    PlainCommand("pod-env", "in a pod: write its own environment down, for the client there"),
    ReactorCommand("reach", "connect programs of this machine with services that the pod of a host reaches"),
    ReactorCommand("run", "run a command with the environment, files and services of a host's pod"),
    ReactorCommand("dev", "have requests of a host come here, and run a command with what its pod has"),
    PlainCommand("status", "show what a running server or client is doing"),
    PlainCommand("explain", "say which client would get a request, and why"),
    PlainCommand("probe", "send a request through an entrypoint, and say which hop fails"),
    PlainCommand("check", "check a configuration file and summarize it"),
    PlainCommand("convert", "turn options and URLs, or a gost file, into a configuration file"),
    PlainCommand("schema", "print the JSON Schema of a configuration file, for editors"),
    PlainCommand("user", "print a line for a users file, with the hash of a password"),
    PlainCommand("invite", "at the server: print an invitation for a developer, or withdraw it"),
    ReactorCommand("login", "keep what an invitation says as a profile"),
    PlainCommand("logout", "remove a profile"),
    PlainCommand("profiles", "list the profiles of this machine"),
    ReactorCommand("doctor", "say what this machine allows, and how far it comes with a server"),
    PlainCommand("completion", "print the completion of commands, options and profiles for bash, zsh or fish"),
    PlainCommand("version", "show the version, and what it runs on"),
    PlainCommand("inject", "add the sidecar to Kubernetes manifests, and lead their host to the server"),
    PlainCommand("uninject", "take out again what inject has added"),
    PlainCommand("demo", "play the whole scenario on this machine; nothing else is needed"),
)


def find(name: str) -> Command | None:
    """The command of that name, if there is one."""
    return next((command for command in COMMANDS if command.name == name), None)
