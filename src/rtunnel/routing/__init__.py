"""Routing: ingress rules, tunnels and the selection of a connector. Pure decisions; no I/O, no clock."""
