"""Profiles: the way to a server and its tunnel, with user and password, kept under a name; and the invitations that make them.

- :mod:`rtunnel.profiles.invitation`: all of it in one line of text
- :mod:`rtunnel.profiles.profile`: a profile as the text of a file, and as a layer of settings
- :mod:`rtunnel.profiles.store`: the folder of profiles of a user
- :mod:`rtunnel.profiles.choosing`: which profile a command is meant to use
"""
