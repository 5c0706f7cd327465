"""What to type after the demo: commands that work as they are printed."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path
from uuid import uuid4

from rtunnel.demo.processes import free_ports
from rtunnel.demo.scenario import HOST, TUNNEL

__all__ = ["JOIN", "JOIN_URL", "next_steps"]

JOIN = f"client --server ws://192.168.1.1:80/proxy --host-header {HOST} --tunnel {TUNNEL} --weight 1 --target :80"
JOIN_URL = f'client -L rtcp://:0/:80 -F "tunnel+ws://192.168.1.1:80?tunnel.id={TUNNEL}&tunnel.weight=1&path=/proxy&host={HOST}"'
"""The same as a URL of gost."""


def next_steps() -> str:
    """The commands, with ports that are free now and an ID of their own."""
    target, listen, entrypoint = free_ports(3)
    tunnel, rtunnel, python = uuid4(), _program(), _short(sys.executable)
    return f"""\
What to type next, on this machine, each line in a terminal of its own:
    {python} -m rtunnel.demo.service --name hello --port {target}
    {rtunnel} server --listen 127.0.0.1:{listen} --entrypoint 127.0.0.1:{entrypoint} --route {HOST}={tunnel}
    {rtunnel} client --server ws://127.0.0.1:{listen} --tunnel {tunnel} --target :{target}
    curl --header "Host: {HOST}" http://127.0.0.1:{entrypoint}/
  the client shows the request; "{rtunnel} status" lists what runs
With a cluster (README.md and docs/kubernetes.md tell the rest; 192.168.1.1 stands for the address of your Ingress):
  once, in the cluster: server, sidecar and Ingress, from the folder of the sources
    kubectl apply -k deploy/kubernetes
  on the laptop, without root: half of the requests for {HOST} come to your port 80
    {rtunnel} {JOIN}
  the same as a URL of gost
    {rtunnel} {JOIN_URL}
  with weight 255 all of them come; Ctrl-C gives them back to the pod
  with --intercept 'header:X-User=alice' only the requests come that have this header\
"""


def _program() -> str:
    """How this rtunnel is called from here: it may be in an environment that the shell does not know (``make demo``)."""
    installed = Path(sys.executable).with_name("rtunnel")
    if not installed.exists():
        return f"{_short(sys.executable)} -m rtunnel"
    found = shutil.which("rtunnel")
    return "rtunnel" if found is not None and Path(found).samefile(installed) else _short(str(installed))


def _short(path: str) -> str:
    """A path as a shell takes it, relative if it is below the working directory."""
    relative = os.path.relpath(path)
    return shlex.quote(path if relative.startswith(os.pardir) else relative)
