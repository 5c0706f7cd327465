"""An nginx that stands in for an Ingress controller, with the configuration that ingress-nginx writes for our Ingress.

No controller can be built here, and its Lua is not what we test: each host of an Ingress becomes a server with the fields,
time limits and buffering that ingress-nginx sets (its template ``nginx.tmpl``), to the cluster addresses of the Services. A host
that ``tls:`` names has the certificate of its Secret, HTTP/2 beside HTTP/1.1, and a redirect of what comes without TLS.
"""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from bench.nginx import INGRESS_FIELDS
from tests.cluster.certificates import make_authority, make_certificate
from tests.cluster.node import INGRESS, STATE, kubectl
from tests.cluster.shell import inside, run, start

__all__ = ["LISTEN", "TLS", "reload", "start_ingress"]

LISTEN: Final = 80
TLS: Final = 443
_PREFIX: Final = "nginx.ingress.kubernetes.io/"
_DEFAULTS: Final = {
    "proxy-read-timeout": "60",
    "proxy-send-timeout": "60",
    "proxy-body-size": "1m",
    "proxy-request-buffering": "on",
    "proxy-buffering": "off",
    "proxy-connect-timeout": "5",
    "ssl-redirect": "true",
}
"""The defaults of ingress-nginx."""


def start_ingress() -> None:
    """Start it; :func:`reload` tells it of Ingresses."""
    folder = STATE / "nginx"
    make_authority(folder)
    # whoever asks for a host that has no certificate gets this one, as from the controller
    make_certificate(folder, "nobody", ["DNS:ingress.local"])
    _write()
    start("nginx", ("nginx", "-c", str(STATE / "nginx" / "nginx.conf"), "-p", str(STATE / "nginx"), "-g", "daemon off;"))


def reload() -> None:
    """Write the configuration of all Ingresses anew, and have nginx read it, as the controller does at each change."""
    _write()
    # nginx would go on with what it has, and say so in its log only
    run(*inside("nginx", "-t", "-c", str(STATE / "nginx" / "nginx.conf"), "-p", str(STATE / "nginx")))
    pid = (STATE / "nginx" / "nginx.pid").read_text(encoding="utf-8").strip()
    run("kill", "-HUP", pid)


def _write() -> None:
    found = json.loads(kubectl("get", "ingresses", "--all-namespaces", "--output", "json"))["items"]
    servers = "\n".join(line for ingress in found for line in _servers(ingress))
    (STATE / "nginx" / "nginx.conf").write_text(
        f"""\
pid {STATE}/nginx/nginx.pid;
error_log {STATE}/nginx/error.log;
worker_processes 1;
worker_shutdown_timeout 240s;
events {{ worker_connections 16384; }}
http {{
    access_log {STATE}/nginx/access.log;
    client_body_temp_path {STATE}/nginx/body;
    proxy_temp_path {STATE}/nginx/proxy;
    fastcgi_temp_path {STATE}/nginx/fastcgi;
    uwsgi_temp_path {STATE}/nginx/uwsgi;
    scgi_temp_path {STATE}/nginx/scgi;
    keepalive_timeout 75s;
    keepalive_requests 1000;
    map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
    map $http_x_request_id $req_id {{ default $http_x_request_id; '' $request_id; }}
    server {{
        listen {INGRESS}:{LISTEN} default_server;
        listen {INGRESS}:{TLS} ssl http2 default_server;
        ssl_certificate {STATE}/nginx/nobody.pem;
        ssl_certificate_key {STATE}/nginx/nobody.key;
        return 404;
    }}
{servers}
}}
""",
        encoding="utf-8",
    )


def _servers(ingress: dict[str, Any]) -> Iterator[str]:
    """The servers of an Ingress; paths that are longer, and exact ones, come first, as nginx itself prefers them."""
    namespace = ingress["metadata"]["namespace"]
    options = _DEFAULTS | {
        key.removeprefix(_PREFIX): value
        for key, value in ingress["metadata"].get("annotations", {}).items()
        if key.startswith(_PREFIX)
    }
    certificates = {
        host: _certificate(namespace, tls["secretName"]) for tls in ingress["spec"].get("tls", []) for host in tls.get("hosts", [])
    }
    for rule in ingress["spec"].get("rules", []):
        host = rule["host"]
        yield f"    server {{ listen {INGRESS}:{LISTEN}; server_name {host};"
        if host in certificates:
            yield f"        listen {INGRESS}:{TLS} ssl http2;"
            yield f"        ssl_certificate {certificates[host]}.pem; ssl_certificate_key {certificates[host]}.key;"
            if options["ssl-redirect"] == "true":
                yield "        if ($scheme = http) { return 308 https://$host$request_uri; }"
        for path in rule["http"]["paths"]:
            address = _address(namespace, path["backend"]["service"])
            if address:
                yield from _location(path, address, options)
        yield "    }"


def _certificate(namespace: str, secret: str) -> Path:
    """A certificate out of a Secret, as two files; their name without its end."""
    data = json.loads(kubectl("get", "secret", secret, "--namespace", namespace, "--output", "json"))["data"]
    path = STATE / "nginx" / f"{namespace}-{secret}"
    for end, key in ((".pem", "tls.crt"), (".key", "tls.key")):
        path.with_suffix(end).write_bytes(b64decode(data[key]))
    return path


def _location(path: dict[str, Any], address: str, options: dict[str, str]) -> Iterator[str]:
    exact = "= " if path["pathType"] == "Exact" else ""
    yield f"        location {exact}{path['path']} {{"
    for name in ("proxy-read-timeout", "proxy-send-timeout", "proxy-connect-timeout"):
        yield f"            {name.replace('-', '_')} {options[name]}s;"
    yield f"            client_max_body_size {options['proxy-body-size']};"
    yield f"            proxy_request_buffering {options['proxy-request-buffering']};"
    yield f"            proxy_buffering {options['proxy-buffering']};"
    for field in INGRESS_FIELDS:
        yield f"            proxy_set_header {field};"
    yield f"""\
            proxy_http_version 1.1;
            proxy_next_upstream off;
            proxy_pass http://{address};
        }}"""


def _address(namespace: str, service: dict[str, Any]) -> str:
    """The cluster address and port of a Service."""
    text = kubectl("get", "service", service["name"], "--namespace", namespace, "--output", "json", "--ignore-not-found")
    if not text.strip():
        return ""
    spec = json.loads(text)["spec"]
    wanted = service["port"]
    for port in spec["ports"]:
        if port["port"] == wanted.get("number") or ("name" in wanted and port.get("name") == wanted["name"]):
            return f"{spec['clusterIP']}:{port['port']}"
    return ""
