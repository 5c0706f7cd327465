"""The environment of a pod's application: where it is read, what of it is given out, and how it becomes one of a laptop."""
