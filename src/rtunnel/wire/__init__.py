"""Bytes <-> meaning. Engines without I/O: no Twisted, no sockets, no clock of their own; they never call their owner."""
