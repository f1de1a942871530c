"""Bytes on disk: blobs, manifests, generations, and who may rely on them.

    derived          they only save work, so writing one never fails, and one that is damaged is as good as none
    following        where a path leads, when somebody else may have a hand in it
    publish          the one way in which files become visible in a store
    workers          forked processes that share out numbered jobs and report what they made of each
    locking          who changes something keeps others from it meanwhile (flock(2))
    regular_file     reading the store's small files
    blobs            immutable bytes named by their digest, and the one narrow interface through which everything else reads them
    runtime_files    small files, most of them in run/, that matter only as long as the mounts and processes of which they tell
    migration        a store of the format before becomes one of this format when it is first used: its run/ was called leases/ there
    pools            the private pool of a store with shared ones behind it, which are only ever read
    store            one directory that holds pool, manifests and environments
    kept             what was fetched, whole or not, when a command was ended or failed
    manifests        all files of one distribution, by digest
    shared           other stores that lie behind this one, read-only
    wheel_stamps     the digest of a wheel file that has not changed since it was hashed, so that adding it again reads nothing of it
    blob_stamps      what each file of the pool was when its bytes were last known to be right, so that a file that was changed shows
    bytecode         which manifest another one becomes with bytecode, and which bytecode a source becomes
    clock            the store's clock: its times are whole seconds, none comes twice, and each is later than all before
    generations      one immutable state of an environment, and its two forms on disk
    pending_changes  a command that is killed after it has published a generation, and before every mount shows it, leaves a mark
    unpack           every member of a wheel becomes a staged blob, by as many processes as there are processors
    environments     named sequences of generations, of which one is current
    installations    what installing a wheel came to, so that doing it again reads no manifest and formats no RECORD
    numbers          assigned once, never given to another manifest, so that inode numbers made of them mean one thing for ever
    availability     which distributions an environment gets from one shared pool alone, and which no pool has any more
    quarantine       what was found damaged is set aside, so that adding the same wheels again restores it
    times            when what a path holds entered the store, in whole seconds
    uppers           what tools wrote into the mounts of an environment
    known_wheels     wheels that a store knows already, found by digest, or by project and version
    leases           what keeps things alive while its holder lives
    scrub            the pool is read again while nobody asks, so that a blob that was changed, has rotted or is gone is found soon
    ingest           wheels to blobs and manifests
    fsck/            checking and repairing a store
    gc/              removing what nothing in a store needs

Each is built of those above it.
"""
