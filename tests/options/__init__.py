"""The options, and how their values are parsed."""
