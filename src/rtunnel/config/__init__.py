"""Configuration files: everything that options and URLs can say, for several listeners and connectors, in YAML.

- :mod:`rtunnel.config.document`: YAML text to a tree that knows its lines
- :mod:`rtunnel.config.layout`: which key stands where; follows from the table of options
- :mod:`rtunnel.config.reading`: the tree to layers of settings, with every error in it
- :mod:`rtunnel.config.writing`: layers as the text of a file
- :mod:`rtunnel.config.gost`: a file of gost as layers
- :mod:`rtunnel.config.schema`: the same layout as a JSON Schema, for editors
"""

from __future__ import annotations
