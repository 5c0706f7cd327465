"""``python -m tests.cluster COMMAND``: the cluster is started, tried, shown, measured and ended; its API server alone."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

from tests.cluster import checks, ingress, node
from tests.cluster.demo import demo
from tests.cluster.images import load, provide_images
from tests.cluster.port_forward import compare
from tests.cluster.programs import BIN, check, provide, provide_api_server
from tests.cluster.shell import ClusterError


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.cluster", description=__doc__)
    parser.add_argument("command", choices=("up", "test", "demo", "reach", "down", "dry-run"))
    parser.add_argument("checks", nargs="*", metavar="CHECK", help=f"for test: {', '.join(checks.CHECKS)} (default: all)")
    arguments = parser.parse_args(argv)
    unknown = set(arguments.checks) - checks.CHECKS.keys()
    if unknown:
        parser.error(f"no check {', '.join(sorted(unknown))}")
    try:
        if arguments.command == "dry-run":
            provide_api_server()
            print(checks.dry_runs())
            return 0
        check()
        if arguments.command == "down":
            node.down()
            return 0
        if arguments.command == "up":
            _up()
            return 0
        if arguments.command in ("demo", "reach"):
            if not node.is_up():
                _up()
            else:
                _load()
            (demo if arguments.command == "demo" else compare)()
            return 0
        return _test(arguments.checks or list(checks.CHECKS))
    except ClusterError as error:
        print(f"cluster: {error}", file=sys.stderr)
        return 1


def _up() -> None:
    began = time.monotonic()
    provide()
    provide_images()
    try:
        node.up()
        load()
        ingress.start_ingress()
    except BaseException:
        node.down()
        raise
    print(f"the cluster is up after {time.monotonic() - began:.0f} s; its Ingress is http://{node.INGRESS}/")
    print(f"  nsenter --net=/run/netns/rtunnel-cluster {BIN}/kubectl --kubeconfig={node.KUBECONFIG} get pods -A")


def _load() -> None:
    """Have what is tried be what the source says now."""
    provide_images()
    load()


def _test(names: Sequence[str]) -> int:
    _load()
    failed = 0
    for name in names:
        began = time.monotonic()
        try:
            result = checks.CHECKS[name]()
        except (ClusterError, AssertionError) as error:
            failed += 1
            result = f"FAILED: {error}"
        lines = result.replace("\n", f"\n{'':<22}")
        print(f"{name:<12}{time.monotonic() - began:>6.0f} s  {lines}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
