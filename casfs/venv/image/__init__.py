"""The metadata image of a generation: an EROFS file system that holds names, and says of each file which blob has its bytes.

    erofs         the format: superblock, inodes, attributes, directories
    fragments     a distribution's share of an image, packed once and kept beside the store's other derived data
    image         fragments and what several manifests share, put together: the image of a generation
    composefs     what composefs asks of it beside

Nothing here mounts anything; `casfs.mount` does.
"""
