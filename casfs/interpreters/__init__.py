"""The interpreters of environments: found, asked what they are, remembered.

    probe        what a Python says about itself when it is run once, without its site-packages and without the user's settings
    stable       the path by which an environment calls its interpreter: with the links that stay when a patch release goes
    tags         which wheels an interpreter can use, in order of preference, computed from what it said about itself
    interpreter  the base CPython of an environment, and which wheels fit it
    known        interpreters that the store knows: each is asked once, until its file changes
    search       the interpreter that a user means by a path, a version, a name, or by saying nothing

Each is built of those above it.
"""
