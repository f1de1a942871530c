"""The metadata image of a generation: an EROFS file system that holds names, and says of each file which blob has its bytes.

    composefs  what composefs asks of an image beside what casfs does (composefs, libcomposefs/lcfs-erofs.h): a header before the
               superblock
    erofs      EROFS on disk, as far as an image of metadata needs it (Documentation/filesystems/erofs.rst and fs/erofs/erofs_fs.h of
               Linux)
    fragments  what the manifests of one distribution bring to an image, packed once, as it would lie at slot 0
    image      the fragments of its manifests, and the directories that several share, merged as the tree merges them

Each is built of those above it.
"""
