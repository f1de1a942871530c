"""Removing what nothing in a store needs.

    needed    what a store needs: all that its generations, and the wheels that it can add again, lead to
    removing  removing what lies in a store, and nothing beside it: no symbolic link is followed on the way to what is removed
    gc        collection: what nothing needs goes, while everything else goes on

Each is built of those above it.
"""
