"""Environments come to be seen at paths, show what changes, come back after a death, and end.

    other_namespace       mounts in the mount namespace of another process, such as a container's
    overlay_layers        what the overlay of an environment is made of, and the fastest way in which this kernel shows it
    run_mounts            an environment that one process and its descendants see, and nobody else
    environment_overlays  one overlay for each environment that is mounted on the kernel data path
    keeper                holds the lease of a mount of `casfs run` until its namespace ends
    mountpoints           where a host's environments appear, as mounts of the kernel's own on top of one FUSE mount
    mounting              how a path comes to show an environment, moves on to another generation, and comes back after a death
    removal               an environment goes, with its generations and upper layers
    scrubber              the process that scrubs: a child of the daemon
    serving               serving a mount in this process, and what happens when one was lost that should not have ended
    hosts                 the host of a store: how whoever needs it starts it, and how it ends
    mount                 an environment comes to be seen at a path, for root through the kernel, for others through a daemon of their own
    recovery              before a command does its work, what daemons showed that died with all their processes is mounted again
    refresh               how the mounts of an environment come to show what a change has made of it
    umount                a mount ends, then what served it

Each is built of those above it.
"""
