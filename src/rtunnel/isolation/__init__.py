"""A command's own view of the machine, without root: Linux namespaces with names of a cluster, and files at their paths."""
