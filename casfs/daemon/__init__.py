"""The processes that keep mounts alive and answer for them.

    acknowledged_generations  which generation of each environment the kernel has been told of, so that a worker may die in the middle of
                              a switch
    control                   what a command says to a daemon, and hears from it
    start                     how a process comes to be a daemon, and says why it could not
    supervisor                keeps a mount alive when its worker is not
    command_server            the process beside a daemon that runs commands in its place (`casfs.cli.server`): how the daemon starts and
                              ends it
    worker                    answers the kernel, and commands over the control socket
    daemon                    takes the lease, mounts, and hands both to a supervisor

Each is built of those above it.
"""
