"""What programs wrote into a mount: read, compared, summed up, carried along.

    differences      what differs between trees, and what distributions dispute: found by comparing the parts of directories, so equal
                     ones are never entered
    written          what was written into an upper directory of overlayfs, as values
    merged           what a mount shows, which is an upper directory over the tree of a generation
    installed        what a tool installed: one .dist-info directory, read with the suspicion that a wheel is read with
    next_upper       what stays of the present one over another generation, so that a mount shows the same files
    copying          copying what stays of an upper layer into the next one: content, mode, owner, times, extended attributes, hard links,
                     whiteouts
    summary          a summary of an upper layer by distribution: what tools installed, upgraded and uninstalled, what was edited, and
                     what belongs to nobody
    stale_bytecode   stale bytecode in an upper layer, after a change of generation; and what else nobody wrote of his own accord
    upper_conflicts  projects that an upper layer has something of: casfs can't change them below it without showing a mixture

Each is built of those above it.
"""
