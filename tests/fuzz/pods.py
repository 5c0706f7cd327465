"""Fuzz targets for pods: what local programs say to the proxy, what is asked of a pod, and the rules of what may be reached."""

from __future__ import annotations

import posixpath
from contextlib import suppress
from ipaddress import ip_address
from pathlib import PurePosixPath

from rtunnel.podenv.variables import DocumentError, read_document, write_document
from rtunnel.podfiles.volumes import VolumesError, read_volumes, write_volumes
from rtunnel.routing.reach import ReachGate, ReachRules, special_address
from rtunnel.routing.reach_list import ReachListError, read_reach_list, write_reach_list
from rtunnel.wire.pod import Cause, PodAnswer, PodRequest
from rtunnel.wire.proxy_datagrams import take_datagram, wrap_datagram
from rtunnel.wire.proxy_server import NotProxied, ProxyServer, WantedDatagrams
from rtunnel.wire.relay import Response, take_request, take_response
from rtunnel.wire.relay_features import RelayError
from tests.fuzz.target import Target, cuts

__all__ = ["TARGETS"]


def _proxied(pieces: list[bytes]) -> tuple[object, bytes, bytes]:
    """What an engine makes of some bytes: where to, what it replied, and what it passes on."""
    server, replied, passed = ProxyServer(), b"", b""
    for piece in pieces:
        if server.wanted is None:
            try:
                replied += server.receive(piece)
            except NotProxied as error:
                assert str(error).isprintable()
                assert len(error.answer) < 1000
                return None, b"", b""
            passed += server.early
        else:
            passed += server.pass_on(piece)
    wanted = server.wanted
    if isinstance(wanted, WantedDatagrams):
        assert 0 <= wanted.port < 65536
        assert server.granted_datagrams("127.0.0.1", 5353) and server.refused(Cause.FAILED, "why")
    elif wanted is not None:
        assert 0 < wanted.port < 65536
        assert wanted.host and wanted.host.isprintable() and " " not in wanted.host
        assert server.granted() is not None
        assert all(server.refused(cause, "why") for cause in Cause)
    return wanted, replied, passed


def proxy_server(data: bytes) -> None:
    """The same however it is cut, but for where a body ends that is malformed; no more is passed on than came, but for a head."""
    wanted, replied, passed = _proxied([data])
    assert len(passed) <= len(data) + 100
    for pieces in cuts(data):
        also, answered, cut = _proxied(pieces)
        assert (also, answered) == (wanted, replied)
        assert cut.startswith(passed) or passed.startswith(cut), (cut, passed)


def proxy_datagrams(data: bytes) -> None:
    """What a program sends to somewhere, or nothing; an answer from there reads the same."""
    found = take_datagram(data)
    if found is None:
        return
    host, port, datagram = found
    assert 0 < port < 65536
    assert host and host.isprintable() and " " not in host
    again = take_datagram(wrap_datagram(host, port, datagram))
    assert again is not None and again[1:] == (port, datagram)
    assert take_datagram(wrap_datagram(*again)) == again


def pod_messages(data: bytes) -> None:
    """A request or an answer, or an error; written again it is the same."""
    try:
        taken = take_request(data)
        if taken is not None:
            request = PodRequest.of(taken[0])
            again = take_request(request.encode())
            assert again is not None and PodRequest.of(again[0]) == request
    except RelayError:
        pass
    try:
        answered = take_response(data)
    except RelayError:
        return
    if answered is not None:
        answer = PodAnswer.of(answered[0])
        assert answer.why.isprintable() and all(name.isprintable() for name in answer.names)
        response = take_response(answer.encode())
        assert response is not None
        _same(answer, response[0])


def _same(answer: PodAnswer, response: Response) -> None:
    again = PodAnswer.of(response)
    assert again.cause == answer.cause


def pod_documents(data: bytes) -> None:
    """Environments, lists and volumes, or an error; written and read again they are the same, and no path leads out."""
    with suppress(ReachListError):
        listed = read_reach_list(data)
        assert read_reach_list(write_reach_list(listed)) == listed
        assert all(name.isprintable() for rule in listed.rules for name in (str(rule), *listed.names(rule.host)))
    with suppress(DocumentError):
        variables = read_document(data)
        assert read_document(write_document(variables)) == variables
    with suppress(VolumesError):
        volumes = read_volumes(data)
        assert read_volumes(write_volumes(volumes)) == volumes
        for volume in volumes:
            root = PurePosixPath("/copy", volume.path[1:])
            for file in volume.files:
                where = posixpath.normpath(root / file.path)
                assert where.startswith(f"{root}/") and where == str(root / file.path), (volume.path, file.path)


def reach_rules(data: bytes) -> None:
    """Rules, or an error of one printable line; they read the same again, and open nothing special but literally."""
    first, _, host = data.decode("utf-8", "replace").partition("\n")
    try:
        rules = ReachRules.parse(first)
    except ValueError as error:
        assert str(error)
        return
    assert ReachRules.parse(str(rules)) == rules
    gate = ReachGate(rules.rules)
    for port in (80, 10250):
        gate.refuses_name(host, port)
        literal = any(rule.is_literal for rule in rules.rules)
        for text in ("127.0.0.1", "::1", "169.254.169.254", "::ffff:127.0.0.1", "64:ff9b::a9fe:a9fe"):
            address = ip_address(text)
            assert special_address(address) is not None
            allowed = gate.refuses_name(text, port) is None and gate.refuses_address(text, port, address) is None
            assert literal or not allowed, (first, text)


TARGETS = (
    Target(
        "proxy-server",
        proxy_server,
        ("rtunnel.wire.proxy_server", "rtunnel.wire.proxy_server_http"),
        [
            *(b"\x05\x01\x00", b"\x05\x01\x00\x03\x01a\x00P", b"\x05\x01\x00\x01\x7f\x00\x00\x01\x00P", b"\x04\x01\x00P"),
            *(b"\x00\x00\x00\x01", b"CONNECT a:80 HTTP/1.1\r\n", b"GET http://a/ HTTP/1.1\r\n", b"Host: a\r\n", b"\r\n\r\n"),
            *(b"Origin: http://a\r\n", b"Transfer-Encoding: chunked\r\n", b"Content-Length: 1\r\n", b"Upgrade: a\r\n"),
        ],
    ),
    Target(
        "proxy-datagrams",
        proxy_datagrams,
        ("rtunnel.wire.proxy_datagrams",),
        [b"\0\0\0\1\x0a\0\0\7\0\x35", b"\0\0\0\3\1a\0\x35", b"\0\0\0\4", b"\xc3\xa9"],
    ),
    Target(
        "pod-messages",
        pod_messages,
        ("rtunnel.wire.pod",),
        [b"reach.rtunnel", b"env.rtunnel", b"rt", b"rt.cause", b"rt.n.0", b"rt.reach", b"rules"],
    ),
    Target(
        "pod-documents",
        pod_documents,
        ("rtunnel.podenv.variables", "rtunnel.podfiles.volumes", "rtunnel.routing.reach_list"),
        [
            *(b'{"reach_version": 1, "rules": ["', b'"search": ["svc.cluster.local"]'),
            *(b'{"pod_files_version": 1, "volumes": [', b'{"pod_env_version": 1, "variables": {', b'"path": "', b'"revision": ""'),
            *(b'"files": [', b'"left_out": []', b'"size": 1', b'"mode": 1', b'"content": "eA=="', b'"value": ""', b"/", b".."),
        ],
    ),
    Target(
        "reach-rules",
        reach_rules,
        ("rtunnel.routing.reach",),
        [b"/udp", b"*", b":80", b":1-2", b":*", b",", b"[::1]", b"127.0.0.1", b"localhost", b"kubernetes.default", b"\n"],
    ),
)
