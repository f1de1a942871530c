"""What sources become when an interpreter compiles them, once for a store.

    compiler  processes of an environment's interpreter that turn sources into bytecode and do nothing else
    bytecode  what a manifest becomes when the sources in it are compiled
    check     checking what the store says of bytecode: mounts would show what is wrong in it

Each is built of those above it.
"""
