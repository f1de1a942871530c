"""What comes from elsewhere: uv finds out which wheels a name stands for, builds what is no wheel yet, and downloads bring them here.

    build_log       what another program had to say: kept in a file while it runs, and shown only if it fails
    configured      what users of pip and uv have configured already: pip.conf and PIP_*, uv.toml and UV_*
    limits          how long casfs waits for a server, and how much it takes from one
    source_archive  unpacking of a source archive, for what lies in a subdirectory of it: uv builds only whole ones
    access          what a download needs to be let in: credentials, certificates, and which hosts need no certificate
    poetry          the program that can read its own lock
    uv              the program that resolves, builds and exports
    connection      what one thread fetches with, and another can cut
    editables       a wheel that leads to a project's directory in place of its files (PEP 660), built as pip builds it
    repository      the files of one commit, by git
    download        one file from a URL, checked before anybody uses it
    obtain          what a lock names, as wheels that can be added: those the store knows, those on the disk, those fetched and those
                    built
    requirements    requirements files, wherever they are: on the disk, or behind a URL
    resolve         what requirements stand for, as uv finds it out, beside what an environment has

Each is built of those above it.
"""
