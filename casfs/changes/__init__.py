"""A new generation out of an old one: distributions come and go, are absorbed, adopted, exported.

    absorbed          one distribution that a tool installed, taken over: its files become blobs and manifests, if all that RECORD says of
                      them is true
    atomic_directory  a directory that appears at its place whole, or not at all: it is filled beside, made durable and then renamed
    broken            what a change leaves that does not get what it needs, as far as its METADATA says
    rebuilt           what was built anew of what it was built of before
    trust             whether nobody but root and we can have a say in what a Python at a path runs
    changes           what `add`, `remove`, `compile` and `rollback` make of an environment
    existing          an existing virtual environment, as its own files describe it: its interpreter, and what lies in it that no
                      distribution brought
    export            a generation as regular files, which need neither mount nor store; modes and times are those that a mount shows
    absorb            what tools installed into an upper layer becomes part of a new generation, and what they uninstalled leaves it
    tar               a generation as a tar archive of regular files
    adopt             an environment is made of a virtual environment that pip, uv or Poetry filled, which is only read

Each is built of those above it.
"""
