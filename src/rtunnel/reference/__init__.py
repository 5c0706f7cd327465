"""What the commands take, as data, and what is made of it: the completion of shells, and manual pages.

- :mod:`rtunnel.reference.describing`: the arguments of a command, of its parser or of the table of options
- :mod:`rtunnel.reference.bash`, :mod:`rtunnel.reference.zsh`, :mod:`rtunnel.reference.fish`: completion
- :mod:`rtunnel.reference.man`: manual pages
"""
