"""What the sidecar of an injected pod gives out: its arguments, and the environment that is written for it."""

from __future__ import annotations

from typing import Any

import yaml
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.inject.context import NOTHING, Additions, Context, additions
from rtunnel.inject.yaml_text import block, compose, find, items


def added(application: dict[str, Any], context: Context, volumes: tuple[Any, ...] = ()) -> Additions:
    """What is added to a pod with one container."""
    (document,) = compose("\n".join(block({"containers": [{"name": "app", **application}], "volumes": list(volumes)})))
    return additions(document, items(find(document, "containers"))[0], context)


def sources(application: dict[str, Any]) -> list[str]:
    """Where ``rtunnel pod-env`` is told that variables come from."""
    (writer,) = added(application, Context(env=True)).init_containers
    command = writer["command"]
    return [command[index + 1] for index, word in enumerate(command) if word == "--from"]


def secret(name: str, key: str = "key") -> dict[str, Any]:
    """A variable of a Secret."""
    return {"name": name, "valueFrom": {"secretKeyRef": {"name": "db", "key": key}}}


def value(name: str, text: str) -> dict[str, Any]:
    """A variable with a value."""
    return {"name": name, "value": text}


class NothingTests(SynchronousTestCase):
    def test_off_by_default(self) -> None:
        application = {"env": [value("A", "1")], "volumeMounts": [{"name": "c", "mountPath": "/c"}]}
        self.assertEqual(added(application, NOTHING, ({"name": "c", "configMap": {"name": "c"}},)), Additions())

    def test_nothing_to_give_out(self) -> None:
        found = added({}, Context(env=True, files=True))
        self.assertEqual((found.arguments, found.init_containers, found.volumes, found.mounts), ([], [], [], []))
        self.assertEqual(
            [note.partition(",")[0] for note in found.notes],
            ["its application has neither env nor envFrom", "its application has no volumes"],
        )

    def test_reach(self) -> None:
        self.assertEqual(added({}, Context(reach="db:5432")).arguments, ["--reach=db:5432"])


class SourcesTests(SynchronousTestCase):
    """A value of a Secret must not count as anything else, whatever way it takes."""

    def test_by_reference(self) -> None:
        level = {"name": "LEVEL", "valueFrom": {"configMapKeyRef": {"name": "shop", "key": "level"}}}
        node = {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}
        self.assertEqual(
            sources({"env": [value("A", "1"), secret("PASSWORD"), level, node]}),
            ["value=A,NODE", "secret/db=PASSWORD", "configmap/shop=LEVEL"],
        )

    def test_a_value_with_that_of_a_secret_in_it(self) -> None:
        chain = [
            secret("PASSWORD"),
            value("URL", "postgres://u:$(PASSWORD)@h"),
            value("AGAIN", "x$(URL)"),
            value("FREE", "$(HOST)"),
        ]
        self.assertEqual(sources({"env": chain}), ["secret/db=PASSWORD,URL,AGAIN", "value=FREE"])

    def test_what_kubernetes_does_not_replace(self) -> None:
        self.assertEqual(
            sources({"env": [secret("P"), value("A", "$$(P)"), value("B", "$P ${P}"), value("C", "$$$(P)")]}),
            ["secret/db=P,C", "value=A,B"],
        )
        self.assertEqual(sources({"env": [value("BEFORE", "$(P)"), secret("P")]}), ["value=BEFORE", "secret/db=P"])

    def test_env_from(self) -> None:
        origins = [{"configMapRef": {"name": "c"}}, {"secretRef": {"name": "s"}, "prefix": "S_"}]
        self.assertEqual(sources({"envFrom": origins}), ["secret/s=S_*", "configmap/c=*"])
        self.assertEqual(
            sources({"envFrom": origins, "env": [value("A", "$(S_X)"), value("B", "$(T)")]}),
            ["secret/s=A", "value=B", "secret/s=S_*", "configmap/c=*"],
        )

    def test_names_that_no_argument_can_have(self) -> None:
        self.assertEqual(sources({"env": [value("a,b", "1"), value("*", "1"), value("$(X)", "1"), value("A", "1")]}), ["value=A"])
        self.assertEqual(sources({"env": [value("a b", "1")], "envFrom": [{"configMapRef": {"name": "c"}, "prefix": "a,"}]}), [])


class EnvironmentTests(SynchronousTestCase):
    def test_resources_are_those_of_the_application(self) -> None:
        reference = {"resource": "limits.cpu"}
        (writer,) = added(
            {"env": [{"name": "CPUS", "valueFrom": {"resourceFieldRef": reference}}]}, Context(env=True)
        ).init_containers
        self.assertEqual(
            writer["env"], [{"name": "CPUS", "valueFrom": {"resourceFieldRef": {"containerName": "app", "resource": "limits.cpu"}}}]
        )

    def test_no_library_of_the_application_is_loaded(self) -> None:
        (writer,) = added({"env": [value("LD_PRELOAD", "/x.so"), value("A", "1")]}, Context(env=True)).init_containers
        self.assertEqual(writer["env"], [value("A", "1")])

    def test_values_of_secrets(self) -> None:
        found = added({"env": [secret("P")]}, Context(env=True, env_allow_secret="DB_*"))
        self.assertEqual(found.arguments, ["--env-source=/rtunnel/env.json", "--env-allow-secret=DB_*"])

    @given(
        st.lists(st.text(st.characters(codec="utf-8", exclude_categories=["C"]) | st.sampled_from("\n\t '\"$\\#:-"), max_size=9))
    )
    def test_values_are_copied(self, values: list[str]) -> None:
        variables = [value(f"V{index}", text) for index, text in enumerate([*values, "last"])]
        (writer,) = added({"env": variables}, Context(env=True)).init_containers
        self.assertEqual(writer["env"], variables)
        self.assertEqual(yaml.safe_load("\n".join(block(writer))), writer)

    def test_a_character_in_two_escapes(self) -> None:
        """JSON escapes what is beyond the first 65,536 characters half by half."""
        (document,) = compose('{"containers": [{"name": "app", "env": [{"name": "A", "value": "\\ud83d\\ude80 \\u00e9"}]}]}')
        found = additions(document, items(find(document, "containers"))[0], Context(env=True))
        self.assertEqual(found.init_containers[0]["env"], [value("A", "\N{ROCKET} \u00e9")])

    def test_texts_that_look_like_something_else(self) -> None:
        """The parser of kubectl is not ours: it takes more for numbers and truth values."""
        for text in ("08", "1e3", "0o17", "1_000", ".5", "y", "N", "on", "~", "null", "2026-11-01", "0x1F", "1.", "-1", "+.5e7"):
            self.assertEqual(block({"value": text}), [f"value: '{text}'"])


class FilesTests(SynchronousTestCase):
    def mounts(self, volume: dict[str, Any], **more: Any) -> Additions:
        mount = {"name": "v", "mountPath": "/etc/v", **more}
        return added({"volumeMounts": [mount]}, Context(files=True), ({"name": "v", **volume},))

    def test_given_out(self) -> None:
        volumes: tuple[dict[str, Any], ...] = (
            {"configMap": {"name": "c"}},
            {"secret": {"secretName": "s"}},
            {"downwardAPI": {"items": []}},
            {"projected": {"sources": [{"configMap": {"name": "c"}}]}},
        )
        for volume in volumes:
            found = self.mounts(volume)
            self.assertEqual(found.arguments, ["--files=/etc/v=/pod/v"])
            self.assertEqual(found.mounts, [{"name": "v", "mountPath": "/pod/v", "readOnly": True}])
            self.assertEqual(found.notes, [])

    def test_left_out(self) -> None:
        config = {"configMap": {"name": "c"}}
        cases: tuple[tuple[dict[str, Any], dict[str, str], str], ...] = (
            ({"emptyDir": {}}, {}, "not of a ConfigMap"),
            ({"persistentVolumeClaim": {"claimName": "c"}}, {}, "not of a ConfigMap"),
            ({"hostPath": {"path": "/"}}, {}, "not of a ConfigMap"),
            ({"projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}, {}, "the token of a service account"),
            (config, {"mountPath": "/var/run/secrets/kubernetes.io/serviceaccount/"}, "the token of a service account"),
            (config, {"subPath": "a"}, "subPath"),
            (config, {"subPathExpr": "$(A)"}, "subPath"),
            (config, {"mountPath": "/a,b"}, "no path"),
            (config, {"mountPath": "/a=b"}, "no path"),
            (config, {"mountPath": "/"}, "no path"),
            (config, {"name": "of a claim's template"}, "not of a ConfigMap"),
        )
        for volume, more, why in cases:
            found = self.mounts(volume, **more)
            self.assertEqual((found.arguments, found.mounts), ([], []))
            self.assertIn(why, "".join(found.notes))

    def test_two_paths_of_one_volume(self) -> None:
        mounts = [{"name": "v", "mountPath": "/a/"}, {"name": "v", "mountPath": "/b/../c$(X)"}]
        found = added({"volumeMounts": mounts}, Context(files=True), ({"name": "v", "configMap": {"name": "c"}},))
        self.assertEqual(found.arguments, ["--files=/a=/pod/v,/c$$(X)=/pod/v"])
        self.assertEqual(len(found.mounts), 1)
