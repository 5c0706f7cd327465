"""Who gets a request: ingress rules, tunnels, the choice of a connector. Pure decisions; no I/O, no clock."""
