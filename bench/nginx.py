"""nginx in its three parts: the local service behind every tunnel, one hop of ``proxy_pass``, and an Ingress before a system."""

from __future__ import annotations

import os
import resource
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bench.proc import BenchError

_USER = "user root;\n" if os.geteuid() == 0 else ""

_FRAME = """{user}worker_processes 1;
daemon off;
pid nginx.pid;
error_log error.log warn;
events {{ worker_connections {connections}; }}
http {{
  access_log off;
  default_type application/octet-stream;
  sendfile on;
  tcp_nopush on;
  keepalive_timeout 3600s;
  keepalive_requests 1000000000;
  client_body_temp_path body;
  proxy_temp_path proxy;
  fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi;
  scgi_temp_path scgi;
{http}}}
"""

# A static handler answers a body with 405 once mirror has read all of it: nginx's own way to have a body read and then
# a short answer given, without a second server behind it.
_SERVICE = """  open_file_cache max=100 inactive=3600s;
  open_file_cache_valid 3600s;
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    root files;
    client_max_body_size 0;
    location /small/ {{ try_files /small.txt =404; }}
    location /10k/ {{ try_files /10k.bin =404; }}
    location /1m/ {{ try_files /1m.bin =404; }}
    location /bulk/ {{ try_files /bulk.bin =404; }}
    location /endless/ {{ try_files /endless.bin =404; }}
    location /post/ {{
      client_body_buffer_size 64k;
      mirror /read;
      try_files /small.txt =404;
      error_page 405 =200 /done;
    }}
    location /sink/ {{
      client_body_buffer_size {bulk};
      mirror /read;
      try_files /small.txt =404;
      error_page 405 =200 /done;
    }}
    location = /read {{ internal; return 204; }}
    location = /done {{ internal; return 200 "read\\n"; }}
    location = /status {{ stub_status; }}
  }}
"""

# The same facts as rtunnel's line of JSON has.
_JSON_LOG = """  log_format json escape=json '{{"time":"$time_iso8601","visitor":"$remote_addr","user":"$remote_user",'
    '"method":"$request_method","host":"$host","target":"$request_uri","protocol":"$server_protocol","status":$status,'
    '"first_byte":"$upstream_header_time","total":$request_time,"received_bytes":$request_length,'
    '"sent_bytes":$body_bytes_sent,"request_id":"$request_id"}}';
"""

#: The formats of an access log that :func:`hop_config` takes, as nginx names them.
_LOG_FORMATS = {"text": "combined", "json": "json"}

_HOP = """  map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
  upstream targets {{
{servers}    keepalive 512;
    keepalive_requests 1000000000;
    keepalive_timeout 3600s;
  }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    access_log {log};
    client_max_body_size 0;
    location / {{
      proxy_pass http://targets;
      proxy_http_version 1.1;
      proxy_set_header Host $host;
      proxy_set_header Connection $connection_upgrade;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_request_buffering off;
      proxy_max_temp_file_size 0;
    }}
  }}
"""

INGRESS_FIELDS: Final = (
    "Host $http_host",
    "Upgrade $http_upgrade",
    "Connection $connection_upgrade",
    "X-Request-ID $req_id",
    "X-Real-IP $remote_addr",
    "X-Forwarded-For $remote_addr",
    "X-Forwarded-Host $http_host",
    "X-Forwarded-Port $server_port",
    "X-Forwarded-Proto $scheme",
    "X-Forwarded-Scheme $scheme",
    "X-Scheme $scheme",
    "X-Original-Forwarded-For $http_x_forwarded_for",
    'Proxy ""',
)
"""The fields of a request that ingress-nginx sets, in its order."""

# What ingress-nginx makes of an Ingress by default, with one worker: the fields that it sets, in its order, kept connections to
# the service behind it, and answers that are not buffered.
_INGRESS = """  map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
  map $http_x_request_id $req_id {{ default $http_x_request_id; '' $request_id; }}
  server_tokens off;
  tcp_nodelay on;
  upstream service {{
    server 127.0.0.1:{service};
    keepalive 320;
    keepalive_time 1h;
    keepalive_timeout 60s;
    keepalive_requests 10000;
  }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    server_name {host};
    location / {{
      client_max_body_size 1m;
{fields}      proxy_http_version 1.1;
      proxy_buffering off;
      proxy_buffer_size 4k;
      proxy_buffers 4 4k;
      proxy_request_buffering on;
      proxy_next_upstream error timeout;
      proxy_next_upstream_tries 3;
      proxy_pass http://service;
    }}
  }}
"""


def binary() -> str:
    """Where nginx is.

    :raises BenchError: when it is not installed.
    """
    found = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found is None:
        raise BenchError("nginx is not installed; on Debian: apt-get install nginx-light")
    return found


def command(config: str) -> list[str]:
    """The command line for a configuration file in the directory where nginx will run."""
    return [binary(), "-e", "error.log", "-p", "./", "-c", config]


def service_config(port: int, bulk_bytes: int) -> str:
    """The local service: one worker, static answers of several sizes, bodies read to their end."""
    return _frame(_SERVICE.format(port=port, bulk=bulk_bytes + 4096))


def hop_config(port: int, targets: Sequence[int], log_file: str = "", log_format: str | None = None) -> str:
    """One hop of ``proxy_pass`` with kept upstream connections, one upstream server for each target.

    :param log_format: ``text`` or ``json`` for an access log, in ``log_file``.
    """
    servers = "".join(f"    server 127.0.0.1:{target};\n" for target in targets)
    formats = _JSON_LOG.format() if log_format == "json" else ""
    log = "off" if log_format is None else f"{log_file} {_LOG_FORMATS[log_format]}"
    return _frame(formats + _HOP.format(port=port, servers=servers, log=log))


def ingress_config(port: int, service: int, host: str) -> str:
    """An nginx set up as ingress-nginx would be for an Ingress of one host, whose service is at a port."""
    fields = "".join(f"      proxy_set_header {field};\n" for field in INGRESS_FIELDS)
    return _frame(_INGRESS.format(port=port, service=service, host=host, fields=fields))


def balanced_config(port: int, services: Sequence[int], host: str) -> str:
    """An nginx that spreads the requests for one host over services at some ports, over connections that it keeps."""
    servers = " ".join(f"server 127.0.0.1:{service};" for service in services)
    return _frame(_BALANCED.format(port=port, servers=servers, host=host))


def write_files(directory: Path, bulk_bytes: int) -> None:
    """The files that the service serves: ``small`` 200 bytes, ``10k``, ``1m``, ``bulk``, and a sparse endless one."""
    files = directory / "files"
    files.mkdir()
    block = os.urandom(1 << 20)
    (files / "small.txt").write_bytes((b"the quick brown fox " * 10)[:200])
    (files / "10k.bin").write_bytes(block[: 10 << 10])
    (files / "1m.bin").write_bytes(block)
    with (files / "bulk.bin").open("wb") as bulk:
        for _ in range(bulk_bytes // len(block)):
            bulk.write(block)
    with (files / "endless.bin").open("wb") as endless:
        endless.truncate(1 << 36)


_BALANCED = """
  upstream servers {{ {servers} keepalive 320; keepalive_requests 1000000; }}
  server {{
    listen 127.0.0.1:{port};
    server_name {host};
    location / {{
      proxy_pass http://servers;
      proxy_http_version 1.1;
      proxy_set_header Host $host;
      proxy_set_header Connection "";
    }}
  }}
"""


def _frame(http: str) -> str:
    connections = min(resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 512, 60000)
    return _FRAME.format(user=_USER, connections=connections, http=http)
