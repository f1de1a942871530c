"""Times: what enters later is newer, what did not change keeps its time, and nothing becomes another thing by its time alone."""

from __future__ import annotations

import os
from pathlib import Path

from casfs.digest import digest_bytes
from casfs.store.ingest import MadeFiles, ingest_files
from casfs.store.manifests import Manifest, NewFile, build_manifest, format_manifest, manifest_path, read_manifest, undated
from casfs.store.shared import add_shared_pool, use_shared_pools
from casfs.store.store import open_store
from casfs.store.times import MAX_OLDER
from tests.make_wheels import make_wheel
from tests.store.making import about, ingest, publish_files, publish_undated, row


def times(manifest: Manifest) -> dict[str, int]:
    return {file.path: file.time for file in manifest.iter_files()}


def test_only_what_changed_is_newer_in_the_next_version(store):
    _, first, _ = publish_files(store, {"same": b"1", "changed": b"1", "made executable": b"1"}, version="1")
    contents = {"same": b"1", "changed": b"2", "made executable": b"1", "new": b"1"}
    _, second, _ = publish_files(store, contents, version="2", executable=["made executable"])
    assert set(times(first).values()) == {first.time}
    assert first.time < second.time
    assert times(second) == {"same": first.time, "changed": second.time, "made executable": second.time, "new": second.time}


def test_what_comes_back_is_newer_than_what_was_in_its_place(store):
    publish_files(store, {"a": b"1"}, version="1")
    _, second, _ = publish_files(store, {"a": b"2"}, version="2")
    _, third, _ = publish_files(store, {"a": b"1"}, version="3")
    assert times(third)["a"] == third.time > second.time


def test_what_many_versions_do_not_have_is_dated_anew_when_it_comes_back(store):
    publish_files(store, {"a": b"1"}, version="0")
    for version in range(1, MAX_OLDER + 1):
        publish_files(store, {"b": b"%d" % version}, version=str(version))
    _, last, _ = publish_files(store, {"a": b"1"}, version="last")
    assert times(last)["a"] == last.time


def test_projects_have_nothing_to_do_with_each_other(store):
    _, one, _ = publish_files(store, {"a": b"1"}, "one")
    _, other, _ = publish_files(store, {"a": b"1"}, "two")
    assert times(one)["a"] < times(other)["a"]


def test_the_same_files_are_the_same_manifest_whatever_came_between(store):
    first = publish_files(store, {"a": b"1"})
    publish_files(store, {"a": b"2"})
    assert publish_files(store, {"a": b"1"}) == first


def test_a_manifest_that_was_lost_comes_back_with_its_times(store, place):
    ingest(store, place, make_wheel({"demo/__init__.py": b"1", "demo/same.py": b"x"}))
    [second] = ingest(store, place, make_wheel({"demo/__init__.py": b"2", "demo/same.py": b"x"}, version="2.0"))
    ingest(store, place, make_wheel({"demo/__init__.py": b"3", "demo/same.py": b"x"}, version="3.0"))
    os.unlink(manifest_path(store, second.manifest))
    [again] = ingest(store, place, make_wheel({"demo/__init__.py": b"2", "demo/same.py": b"x"}, version="2.0"))
    assert (again.was_known, again.manifest, again.content) == (False, second.manifest, second.content)


def test_what_one_command_brings_has_one_time_unless_it_disputes_a_path(store):
    groups = [
        MadeFiles(about(project), [NewFile(path, content)])
        for project, path, content in (("one", "bin/x", b"1"), ("two", "bin/x", b"2"), ("three", "bin/y", b"3"), ("four", "bin/x", b"1"))
    ]
    one, two, three, four = (manifest.time for _, manifest, _ in ingest_files(store, groups))
    assert one == three == four == two - 1


def test_a_tenant_shows_the_times_of_the_shared_pool_and_what_it_adds_itself_is_newer(store, place):
    shared = open_store(place / "shared", create=True)
    Path(shared.path("clock")).write_text("3000000000\n")
    old, new = (make_wheel({"demo/__init__.py": b"%d" % version}, version=f"{version}.0") for version in (1, 2))
    [theirs] = ingest(shared, place, old)
    add_shared_pool(store, shared.root)
    use_shared_pools(store)
    [taken] = ingest(store, place, old)
    [added] = ingest(store, place, new)
    assert (taken.was_known, taken.content) == (True, theirs.content)
    assert added.content.time > theirs.content.time > 3_000_000_000


def test_what_the_version_before_published_is_the_same_and_keeps_its_times(store):
    [(digest, before, number)] = publish_undated(store, build_manifest(about(), [row("a", b"1")]))
    assert publish_files(store, {"a": b"1"}) == (digest, before, number)
    assert (before.time, times(before)) == (0, {"a": 0})
    assert read_manifest(store, digest) == before


def test_what_did_not_change_since_the_version_before_keeps_the_time_that_its_content_gives_it(store):
    publish_undated(store, build_manifest(about(version="1"), [row("same", b"1"), row("changed", b"1")]))
    publish_undated(store, build_manifest(about(version="2"), [row("same", b"1"), row("changed", b"2")]))
    _, after, _ = publish_files(store, {"same": b"1", "changed": b"1"}, version="3")
    assert times(after) == {"same": 0, "changed": after.time}


def test_a_marker_that_lies_is_not_believed(store):
    _, demo, _ = publish_files(store, {"a": b"1"})
    _, _, number = publish_files(store, {"a": b"2"})
    wanted = build_manifest(about(), [row("a", b"3")])
    marker = Path(store.path("numbers", "by-project", "demo", f"{number:06x}"))
    marker.unlink()
    marker.write_text(f"{demo.time + 1} {digest_bytes(format_manifest(wanted))}\n")
    _, made, _ = publish_files(store, {"a": b"3"})
    assert undated(made) == wanted
