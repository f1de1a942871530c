"""The kernel's own data path: mounts, images and overlays.

    kernel         system calls that Python's os module lacks, one function each
    metacopy       an environment as files that have names, sizes, times and attributes, but no bytes: an overlay takes these from the
                   pools
    hidden_mounts  where mounts are attached in private
    mountinfo      the mounts that there are, which are dead, who uses one, and how to end it
    overlayfs      overlays whose lower layer says what there is, and whose data-only layers are the pools
    images         the metadata image of a generation as a mount of EROFS, one for all environments that show the same

Each is built of those above it.
"""
