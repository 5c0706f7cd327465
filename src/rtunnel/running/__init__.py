"""A command on this machine with what the pod of a host has: its environment, its files, what it reaches."""
