"""The front door: it parses, prints and exits, and is the only place that does, or that reads variables of the environment.

    client      lets a server run the command that was typed, where one can
    hints       the commands that a message names in backquotes, completed so that they can be copied: they say which store and which
                environment
    options     options that several commands have, and what their values may be
    synced      what was synced last: an equal lock and an unchanged environment need no second look
    output      results on standard output, everything else on standard error
    context     which store, which environment, and who serves it
    foreground  a command in the foreground: it has our place, our terminal and our signals
    owner       to whom the files of a mount belong, and whether that user can do anything with them
    parser      what there is to type: the table of all commands
    uppers      what tools wrote into the mounts of an environment, for the commands that show it, keep it or throw it away
    bytecode    bytecode, for the commands that bring distributions: who makes it, and what is told about it
    main        how a command begins, and how it ends
    service     daemon install: a systemd unit, so that the daemon lives from boot on; and what systemd hears from it (sd_notify(3))
    changes     what commands that change an environment do alike, and what they tell of it
    server      the process that runs commands: it has loaded casfs, and forks for each
    names       add, for whatever is no wheel file: names, URLs, projects and requirements files, which uv resolves
    locked      an environment becomes what a lock file says
    warm        pool warm: fill the pool ahead of users
    commands/   one file for each command: its options and its function

Each is built of those above it.
"""
