"""The options, and what their text means."""
