"""The pod for a developer's machine: what a client in the pod gives out, and the link by which the machine gets it."""
