"""The published schemas follow the table, and accept and refuse what the reader does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.config.layout import CLIENT_LAYOUT, DEV_LAYOUT, LAYOUTS, SERVER_LAYOUT, FileLayout
from rtunnel.config.schema import schema

ROOT = Path(__file__).parent.parent.parent


def valid(layout: FileLayout, text: str) -> bool:
    validator: Any = Draft202012Validator(schema(layout))
    return bool(validator.is_valid(yaml.safe_load(text)))


class SchemaTests(SynchronousTestCase):
    maxDiff = None

    def test_published(self) -> None:
        """``rtunnel schema server > docs/server.schema.json`` brings them up to date."""
        for layout in (*LAYOUTS, DEV_LAYOUT):
            name = f"{layout.role}.schema.json"
            published = json.loads((ROOT / "docs" / name).read_text(encoding="utf-8"))
            self.assertTrue(published == schema(layout), f"bring it up to date: rtunnel schema {layout.role} > docs/{name}")

    def test_they_are_schemas(self) -> None:
        for layout in (*LAYOUTS, DEV_LAYOUT):
            Draft202012Validator.check_schema(schema(layout))

    def test_examples(self) -> None:
        for layout in LAYOUTS:
            text = (ROOT / "examples" / f"{layout.role}.yaml").read_text(encoding="utf-8")
            self.assertTrue(valid(layout, text), layout.role)
        text = (ROOT / "examples" / "rtunnel.dev.yaml").read_text(encoding="utf-8")
        self.assertTrue(valid(DEV_LAYOUT, text))

    def test_yes(self) -> None:
        for text in (
            "entrypoint: ':80'\ndrain: 5\nhttp: {pool: false, max-headers: 7, head-timeout: 5s}",
            "routes: {a: b}",
            "routes: [a=b, {a: b}]",
            "listeners: [{listen: ':80', mux: {version: 1}}]",
        ):
            self.assertTrue(valid(SERVER_LAYOUT, text), text)

    def test_no(self) -> None:
        for text in (
            "drian: 5s",
            "drain: [5]",
            "http: {pool: 5}",
            "http: 5",
            "http: {max-headers: x}",
            "entrypoints: ':80'",
            "listeners: []",
            "listeners: [{drain: 5s}]",
            "connectors: []",
            "- a",
        ):
            self.assertFalse(valid(SERVER_LAYOUT, text), text)

    def test_one_key_for_one_value_and_for_several(self) -> None:
        for text in (
            "env: {exclude: A, set: {B: c}, rename: {D: E}, unset: [F, G], include: 'H,I'}",
            "env: {set: [B=c], file: .env}\nrun: npm start\nwait: false",
            "run: [npm, start]\nreach: {proxy: '127.0.0.1:1080', forward: 'postgres:5432'}",
        ):
            self.assertTrue(valid(DEV_LAYOUT, text), text)
        for text in ("env: {exclude: {A: b}}", "run: {a: b}", "connectors: []", "reach: 5", "env: {allow: x}"):
            self.assertFalse(valid(DEV_LAYOUT, text), text)

    def test_defaults_are_of_their_kind(self) -> None:
        keys = schema(CLIENT_LAYOUT)["properties"]
        self.assertEqual((keys["weight"]["default"], keys["backoff-min"]["default"]), (1, "500ms"))
        self.assertIs(schema(SERVER_LAYOUT)["properties"]["http"]["properties"]["pool"]["default"], True)
