"""Lock files and requirements, read and written.

    lines         lines of requirements files: what each asks for, and which hashes it gives
    lockfile      lock files (PEP 751): what they name for one interpreter
    others        files that people take for locks, and locks that nobody takes for one: what each is, and the command or the name that
                  helps
    writing       writing the present state of an environment as a lock file (PEP 751) that other tools can install
    hashes        hashes that were asked for: they guide which file of a project is taken, and no other file is
    known         locks that a store knows: what each names for an interpreter is found out once
    requirements  requirements files, read once and strictly: what comes out is all that a resolver gets to see, and all that is compared

Each is built of those above it.
"""
