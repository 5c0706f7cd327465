"""Fuzz target for ``rtunnel inject`` and ``uninject``: manifests as people write and clusters print them."""

from __future__ import annotations

from typing import Any

from rtunnel.inject.context import Context
from rtunnel.inject.injection import InjectError, Outcome, Wanted, inject, uninject
from rtunnel.inject.patch import patches
from rtunnel.inject.yaml_text import compose, plain
from tests.fuzz.target import Target
from tests.fuzz.texts import check_message, text_of
from tests.support.ids import TUNNEL

__all__ = ["TARGETS"]

_HOST = "a.example"
_EVERYTHING = Context(env=True, env_allow_secret="A", files=True, reach="a:80")
_WANTED = (
    Wanted(host=_HOST, image="rtunnel"),
    Wanted(host=_HOST, image="rtunnel", port="80", server="other", native=False, context=_EVERYTHING),
)
_OURS = ("rtunnel", "proxy", "other")
"""What names of ours begin with: a text that has one may have been injected before, or have the server."""


def injection(data: bytes) -> None:
    """Manifests or an InjectError of printable lines; injected again they are the same, and uninjected they are what they were."""
    # files and pipes are read with any of these as the end of a line
    text = text_of(data).replace("\r\n", "\n").replace("\r", "\n")
    for wanted in _WANTED:
        there = _injected(text, wanted)
        if there is not None and any(report.changed for report in there.reports):
            again = _injected(there.text, wanted)
            assert again is not None and again.text == there.text, "injected twice"
            patches(text, there.text)
            if not any(name in text for name in _OURS):
                _check_back(text, there)
    try:
        for report in uninject(text).reports:
            check_message(str(report))
    except InjectError as error:
        check_message(str(error))


def _injected(text: str, wanted: Wanted) -> Outcome | None:
    try:
        there = inject(text, wanted, lambda: TUNNEL)
    except InjectError as error:
        check_message(str(error))
        return None
    for report in there.reports:
        check_message(str(report))
    return there


def _check_back(text: str, there: Outcome) -> None:
    """Uninjected it is the same bytes; but for lists and maps that were there and empty, which are gone."""
    back = uninject(there.text).text
    before = [plain(node) for node in compose(text)]
    if _full(before) == before:
        assert back == _before(text, there), "not the same bytes"
    else:
        assert [_full(plain(node)) for node in compose(back)] == _full(before), "not the same resources"


def _full(value: Any) -> Any:
    """A value without what is empty in it."""
    if isinstance(value, dict):
        return {key: full for key, item in value.items() if (full := _full(item)) not in ({}, [], None)}
    return [_full(item) for item in value] if isinstance(value, list) else value


def _before(text: str, there: Outcome) -> str:
    """What is left of a text when the documents behind it are gone: its last line has an end, and it is no longer JSON."""
    if not there.added:
        return text
    return ("---\n" if text.startswith("{") else "") + text + ("" if text.endswith("\n") else "\n")


TARGETS = (
    Target(
        "inject",
        injection,
        (
            *("rtunnel.inject.injection", "rtunnel.inject.resources", "rtunnel.inject.sidecar", "rtunnel.inject.traffic"),
            *("rtunnel.inject.yaml_text", "rtunnel.inject.context", "rtunnel.inject.patch"),
        ),
        [
            *(b"\n  ", b"\n---\n", b"- ", b": ", b"{}", b"[]", b"null", b"#", b"|\n", b"&a ", b"*a", b"<<: *a", b"'", b'"', b"? "),
            *(
                b"kind: Deployment\n",
                b"kind: Service\n",
                b"kind: Ingress\n",
                b"kind: HTTPRoute\n",
                b"kind: CronJob\n",
                b"kind: List",
            ),
            *(b"items:\n", b"spec:", b"template:", b"metadata:", b"annotations:", b"containers:", b"initContainers:", b"volumes:"),
            *(b"name: ", b"host: a.example", b"hostnames: [a.example]", b"backendRefs:", b"service:", b"port: 80", b"ports:"),
            *(b"selector:", b"labels:", b"app: a", b"env:", b"envFrom:", b"volumeMounts:", b"lifecycle:", b"value: $(A)"),
            *(b'"rtunnel.dev/injected": "a.example"', b'rtunnel.dev/original-backends: \'{"server": "other", "backends": ["a"]}\''),
            *(b"!!int ", b"!!float ", b"%YAML 1.1\n", b"stringData:", b"secretKeyRef: ", b"configMap:"),
        ],
        max_size=1500,
    ),
)
