"""The environment of a pod."""
