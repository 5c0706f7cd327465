"""Tests of the shared registry."""
