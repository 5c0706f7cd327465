"""The client end of pods."""
