"""The public end: entrypoints where visitors arrive, tunnel listeners where connectors attach."""
