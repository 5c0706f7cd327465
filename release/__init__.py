"""What a release consists of, and how it is made: ``python -m release``, behind the targets of the Makefile.

- :mod:`release.version`: the version, in its one place, and where it is repeated
- :mod:`release.pins`: the image's base and wheels, pinned
- :mod:`release.changelog`: what is new
- :mod:`release.build`: the files of a release
- :mod:`release.image`, :mod:`release.archives`: the image, and archives that are the same each time
"""

from __future__ import annotations
