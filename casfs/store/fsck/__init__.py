"""Checking and repairing a store.

    damage        damages, each with whom it hits, and how much was looked at
    manifests     checking manifests, and the records that say which manifest a wheel became
    blobs         whether each blob is a regular file that nobody may write, with the bytes that its name promises
    numbers       checking numbers of manifests: that each can be found
    environments  checking generations: each is a lock file that any tool can read, and all that it refers to is there
    repair        what a check found damaged is set aside, so that adding the same wheels again restores it
    check         the whole check: it believes nothing that the store says of itself

Each is built of those above it.
"""
