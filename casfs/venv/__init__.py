"""What an environment looks like: the tree of a generation, and what belongs to every environment.

    bytecode_names  names of bytecode files, and of the sources that they are made from (PEP 3147, PEP 488)
    launchers       scripts that find their interpreter beside themselves, so that the same bytes serve wherever the environment is
                    mounted
    origins         what a distribution was installed from, as the one text that an environment remembers, and as other tools are told it
                    (PEP 610)
    similar         what somebody may have meant who typed a name that nobody knows
    tree            the whole file view of one generation, built directory by directory when somebody looks
    installation    what installing a wheel adds to its files
    reading         reading from the store what trees ask for, and single files of manifests
    skeleton        what an environment holds before anything is installed
    described       what METADATA says of distributions that an environment has, and who requires whom
    dependencies    who requires whom in an environment, extras and markers considered: the graph that `tree` and `why` walk
    bytecode/       what sources become when an interpreter compiles them, once for a store
    image/          the metadata image of a generation, as EROFS

Each is built of those above it.
"""
