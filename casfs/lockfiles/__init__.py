"""Lock files and requirements, read and written.

    lines         lines of requirements files: what each asks for, and which hashes it gives
    markers       markers that uv and Poetry read in another way than packaging, and so pip: what each of them would install is installed
    others        files that people take for locks, and locks that nobody takes for one: what each is, and the command or the name that
                  helps
    writing       writing the present state of an environment as a lock file (PEP 751) that other tools can install
    lockfile      lock files (PEP 751): what they name for one interpreter
    requirements  requirements files, read once and strictly: what comes out is all that a resolver gets to see, and all that is compared
    hashes        hashes that were asked for: they guide which file of a project is taken, and no other file is
    known         locks that a store knows: what each names for an interpreter is found out once

Each is built of those above it.
"""
