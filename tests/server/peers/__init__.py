"""Servers that forward requests to each other."""
