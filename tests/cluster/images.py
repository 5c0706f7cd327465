"""The images of the cluster, made here: no registry is asked.

``pause`` holds the namespaces of a pod; ``base`` is a small Debian with its Python, of the versions that are in the base which our
Dockerfile pins; ``rtunnel`` is built by that Dockerfile; ``app`` is what the tests use as applications: nginx on the same base;
``redis`` and ``postgres`` are Debian's.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

import rtunnel
from tests.cluster.node import STATE
from tests.cluster.shell import HOME, ROOT, run

__all__ = ["APP", "OURS", "POSTGRES", "POSTGRES_PROGRAMS", "load", "provide_images"]

IMAGES: Final = HOME / "images"
OURS: Final = f"rtunnel:{rtunnel.__version__}"
APP: Final = "nginxinc/nginx-unprivileged:1.28"
"""The name that our manifests have for nginx."""
_REDIS: Final = "redis:7.4-alpine"
"""The same for Redis."""
POSTGRES: Final = "postgres:17"
POSTGRES_PROGRAMS: Final = "/usr/lib/postgresql/17/bin"
"""Where it has them; its user is 101."""

_PAUSE_SOURCE = "#include <signal.h>\n#include <unistd.h>\nint main(void) { signal(SIGTERM, _exit); for (;;) pause(); }\n"
_NGINX = """\
pid /tmp/nginx.pid;
error_log stderr;
events {}
http {
    access_log off;
    client_body_temp_path /tmp/body;
    proxy_temp_path /tmp/proxy;
    fastcgi_temp_path /tmp/fastcgi;
    uwsgi_temp_path /tmp/uwsgi;
    scgi_temp_path /tmp/scgi;
    # an application reads a request before it answers; "return" does not wait for the body
    server {
        listen 8080;
        location / { proxy_pass http://127.0.0.1:8081; }
    }
    server {
        listen 127.0.0.1:8081;
        location / { default_type text/plain; return 200 "pod $hostname\\n"; }
    }
}
"""
_BUILDAH = {"STORAGE_DRIVER": "vfs", "BUILDAH_ISOLATION": "chroot"}


def provide_images(*, anew: bool = False) -> None:
    """Build the images that are not built yet; ours always when the source has changed since.

    :param anew: build all of them.
    """
    if anew:
        shutil.rmtree(IMAGES, ignore_errors=True)
    IMAGES.mkdir(parents=True, exist_ok=True)
    if not (IMAGES / "pause.tar").exists():
        _pause()
    if not (IMAGES / "base.tar").exists():
        print("making a small Debian, which takes a minute or two", flush=True)
        _base()
    if not (IMAGES / "app.tar").exists():
        _app()
    if not (IMAGES / "redis.tar").exists():
        _save(_from_base(), f"docker.io/library/{_REDIS}", IMAGES / "redis.tar")
    if not (IMAGES / "postgres.tar").exists():
        _postgres()
    ours = IMAGES / "rtunnel.tar"
    described = ("Dockerfile", "setup.cfg", "build_backend.py", "mypyc.toml", "deploy/image/root_filesystem.py")
    sources = [*(ROOT / name for name in described), *ROOT.glob("requirements*.lock"), *(ROOT / "src").rglob("*.py")]
    if not ours.exists() or ours.stat().st_mtime < max(path.stat().st_mtime for path in sources):
        print("building the image of rtunnel", flush=True)
        _ours()


def load() -> None:
    """Give the images to the cluster's containerd, as far as it has not got them yet."""
    for path in sorted(IMAGES.glob("*.tar")):
        loaded = STATE / f"{path.name}.loaded"
        if path.name == "base.tar" or (loaded.exists() and loaded.stat().st_mtime > path.stat().st_mtime):
            continue
        run("ctr", f"--address={STATE}/containerd.sock", "--namespace=k8s.io", "images", "import", str(path))
        loaded.touch()


def _buildah(*arguments: str) -> str:
    storage = (f"--root={HOME}/storage", f"--runroot={HOME}/storage-run")
    return run("buildah", *storage, *arguments, env=_BUILDAH, timeout=1800)


def _from_base() -> str:
    return _buildah("from", "localhost/base:1").strip().splitlines()[-1]


def _save(container: str, name: str, path: Path) -> None:
    _buildah("commit", "--rm", container, name)
    _archive(name, path)


def _archive(name: str, path: Path) -> None:
    path.unlink(missing_ok=True)
    _buildah("push", name, f"docker-archive:{path}:{name}")


def _pause() -> None:
    folder = IMAGES / "pause"
    folder.mkdir(exist_ok=True)
    (folder / "pause.c").write_text(_PAUSE_SOURCE, encoding="utf-8")
    run("gcc", "-Os", "-static", "-o", str(folder / "pause"), str(folder / "pause.c"))
    container = _buildah("from", "scratch").strip().splitlines()[-1]
    _buildah("add", container, str(folder / "pause"), "/pause")
    _buildah("config", "--entrypoint", '["/pause"]', container)
    _save(container, "localhost/pause:1", IMAGES / "pause.tar")


def _base() -> None:
    root = IMAGES / "root"
    shutil.rmtree(root, ignore_errors=True)
    packages = "python3,python3-venv,python3-pip,nginx-light,redis-server,curl,ca-certificates"
    run("debootstrap", "--variant=minbase", f"--include={packages}", "trixie", str(root), timeout=1800)
    shutil.rmtree(root / "var" / "cache" / "apt", ignore_errors=True)
    # what this machine trusts, since the packages of an image are fetched as those of this machine are
    shutil.copy("/etc/ssl/certs/ca-certificates.crt", root / "etc" / "ssl" / "certs" / "ca-certificates.crt")
    container = _buildah("from", "scratch").strip().splitlines()[-1]
    _buildah("add", container, str(root), "/")
    _save(container, "localhost/base:1", IMAGES / "base.tar")
    shutil.rmtree(root)


def _app() -> None:
    config = IMAGES / "nginx.conf"
    config.write_text(_NGINX, encoding="utf-8")
    container = _from_base()
    _buildah("add", container, str(config), "/etc/nginx/nginx.conf")
    _buildah("config", "--entrypoint", '["nginx", "-g", "daemon off;"]', container)
    _save(container, f"docker.io/{APP}", IMAGES / "app.tar")


def _postgres() -> None:
    container = _from_base()
    install = "apt-get update -qq && apt-get install -qq -y --no-install-recommends postgresql-17"
    # the compiler of queries is as large as all else, and not needed
    compiler = "/usr/lib/*/libLLVM* /usr/lib/postgresql/17/lib/llvmjit* /usr/lib/postgresql/17/lib/bitcode"
    clean = f"apt-get clean && rm -rf /var/lib/apt/lists/* /var/lib/postgresql/17 {compiler}"
    shell = ("--network", "host", "--env", "DEBIAN_FRONTEND=noninteractive", container, "--", "sh", "-c", f"{install} && {clean}")
    _buildah("run", *shell)
    _save(container, f"docker.io/library/{POSTGRES}", IMAGES / "postgres.tar")


def _ours() -> None:
    arguments = ("--build-arg", "BASE=localhost/base:1", "--network", "host", "--tag", f"docker.io/library/{OURS}")
    _buildah("build", *arguments, *_pip_environment(), str(ROOT))
    _archive(f"docker.io/library/{OURS}", IMAGES / "rtunnel.tar")


def _pip_environment() -> list[str]:
    """Where pip finds packages on this machine, for a build whose pip knows nothing of it."""
    wheels = run("python3", "-m", "pip", "config", "get", "global.index-url", check=False).strip()
    return ["--env", f"PIP_INDEX_URL={wheels}"] if wheels.startswith("http") else []
