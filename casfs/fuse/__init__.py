"""What the kernel asks of a FUSE mount, and the answers. pyfuse3 is used here and in the worker alone.

    descriptors    descriptors of blobs: opened once, kept while there is room
    inodes         inode numbers: 64 bits from which a freshly started daemon finds the node
    loop           the wait for the kernel's next request, leaner than trio's
    session        a FUSE file system mounted by ourselves, so that its descriptor and the kernel's first message stay with the supervisor
    view           what one mount shows, as plain functions
    blob_verifier  whether the file that the kernel would read for a blob is still the one whose bytes were right
    host           every environment of a store in one file system, as directories of its root
    operations     pyfuse3's requests answered from a view

Each is built of those above it.
"""
