"""One file for each command: its options and its function.

    absorb       what tools installed in the mounts becomes part of the environment
    add          wheel files as they are; for everything else, `names`
    collect      the store without what nothing needs
    compile      the environment's sources become bytecode, once for the store
    diff         what was written into the mounts of the environment
    env          the environments of a store: listed, removed, given another interpreter
    export       the environment as a plain virtual environment, in a directory or in a tar archive
    fsck         check everything in the store, and repair it
    generations  the states that the environment has had
    help         the commands, or one of them
    history      the generations, newest first, each with what it changed
    list         the distributions of the environment
    lock         the environment as a lock file
    manual       the manual's pages, on a terminal as a book, else as they are
    mount        an environment as a virtual environment at a path, here or in the mount namespace of another process
    pool         which stores lie behind this one
    remove       distributions leave the environment
    reset        what was written into the mounts of the environment is thrown away
    rollback     an earlier generation is current again
    status       what is mounted, and who serves it
    sync         at once if there is nothing to do, else as `casfs.cli.locked` does
    tree         what requires what, as a tree
    adopt        an environment of an existing virtual environment
    daemon       the daemon: start, stop, logs, upgrade, install
    image        the metadata image of the environment, for others to mount
    metrics      what the daemons do, for Prometheus (text exposition format 0.0.4)
    run          a command in an environment that it alone sees
    show         a distribution, or one file of a mount
    umount       a mount ends, here or in the mount namespace of another process
    why          who needs a distribution

Each is built of those above it.
"""
