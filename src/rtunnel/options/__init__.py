"""Every option once, and what its text means.

- :mod:`rtunnel.options.table`: the options, with their settings, words and keys
- :mod:`rtunnel.options.kinds`: the forms of values
- :mod:`rtunnel.options.layers`: what was given in one place, by which name
- :mod:`rtunnel.options.environment`: the variables
- :mod:`rtunnel.options.ignored_gost_keys`: the keys of gost that do not exist here
- :mod:`rtunnel.options.help`: the help
"""

from __future__ import annotations
