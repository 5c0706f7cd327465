"""Configuration files in YAML: everything that options and URLs can say, for several listeners and connectors.

- :mod:`rtunnel.config.document`: YAML text as a tree with line numbers
- :mod:`rtunnel.config.layout`: the keys of a file, which follow from the table of options
- :mod:`rtunnel.config.reading`: the tree as layers of settings, or all its errors
- :mod:`rtunnel.config.writing`: layers as the text of a file
- :mod:`rtunnel.config.summary`: what a file does, in one line
- :mod:`rtunnel.config.gost`: a gost file as layers
- :mod:`rtunnel.config.schema`: the layout as a JSON Schema, for editors
"""

from __future__ import annotations
