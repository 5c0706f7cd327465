"""The end near the target: connectors that join a tunnel and forward its streams."""
