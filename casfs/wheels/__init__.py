"""A hostile file in, checked values out.

    source      the wheel's bytes, in a private copy that nobody else can change
    filename    what the file name says: project, version, tags
    endrecord   where a ZIP's central directory lies        \
    directory   its entries, one by one                      |  archive: the members of a ZIP that every reader
    extra       extra fields of either kind of header        |  would see alike, and what one member may be
    layout      local headers: agree, touch, do not overlap /
    inflate     the content of one member
    record      what RECORD claims
    metadata    what METADATA and WHEEL say
    entrypoints console and gui scripts
    scheme      where each member is installed
    wheel       all of it: read_wheel
"""
