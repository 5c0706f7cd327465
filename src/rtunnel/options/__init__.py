"""Every option once, and how its values are parsed.

- :mod:`rtunnel.options.table`: the options, with their settings, help and URL keys
- :mod:`rtunnel.options.kinds`: kinds of values: durations, sizes, addresses, ...
- :mod:`rtunnel.options.targets`, :mod:`rtunnel.options.proxies`: two kinds that are longer
- :mod:`rtunnel.options.layers`: the options given in one place, and how they become settings
- :mod:`rtunnel.options.environment`: options as variables
- :mod:`rtunnel.options.ignored_gost_keys`: gost's keys that are ignored here, with a warning
"""

from __future__ import annotations
