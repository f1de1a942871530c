"""A hostile file in, checked values out.

    problems     the list of all that is wrong with one wheel
    source       the wheel's bytes, in a private copy that nobody else can change
    filename     what the file name says: project, version, tags
    endrecord    where a ZIP's central directory lies
    extra        extra fields of either kind of header
    directory    the central directory's entries, one by one
    layout       local headers: they agree with the directory, touch and do not overlap
    archive      the members of a ZIP that every reader would see alike, and what one member may be
    inflate      the content of one member
    record       what RECORD claims
    metadata     what METADATA and WHEEL say
    entrypoints  console and gui scripts
    scheme       where each member is installed
    wheel        all of it: read_wheel

Each is built of those above it.
"""
