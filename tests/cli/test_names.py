"""add by name: what is resolved, fetched and added; and that whatever goes wrong changes nothing."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli import package_index
from tests.cli.package_index import PackageIndex, make_environ
from tests.cli.projects import commit_project, make_project, pack_project
from tests.cli.test_changes import listed
from tests.make_wheels import MadeWheel, make_wheel, pack, with_record
from tests.mounted.harness import Casfs, site_packages


@pytest.fixture
def index() -> Iterator[PackageIndex]:
    with PackageIndex() as one:
        yield one


@pytest.fixture
def casfs(casfs: Casfs, index: PackageIndex) -> Casfs:
    """A store whose commands know the index on loopback and no other."""
    for name in [name for name in casfs.environ if name.startswith(("PIP_", "UV_")) or name.lower().endswith("_proxy")]:
        del casfs.environ[name]
    casfs.environ |= make_environ(casfs.directory, index)
    return casfs


def facts(casfs: Casfs, name: str) -> dict[str, object]:
    found = json.loads(casfs.run("show", name, "--json").stdout)
    assert isinstance(found, dict)
    return found


def leftovers(casfs: Casfs) -> list[str]:
    return os.listdir(casfs.store / "tmp")


def installed(casfs: Casfs, name: str) -> set[str]:
    """What installing added to a distribution's .dist-info."""
    generation = (casfs.store / "environments/default/current").read_text()
    [package] = [one for one in generation.split("[[packages]]") if f'\nname = "{name}"\n' in one]
    digest = package.partition("[packages.tool.casfs.installation]")[2].partition('manifest = "')[2][:64]
    manifest = (casfs.store / "manifests" / digest[:2] / digest[2:]).read_text(errors="replace")
    return {one for one in ("REQUESTED", "INSTALLER", "direct_url.json") if one in manifest}


# --- what is added


def test_name_brings_what_it_needs_in_one_generation(casfs: Casfs, index: PackageIndex) -> None:
    index.offer("one", "1.0")
    index.offer("one", "2.0", needs="two")
    index.offer("two")
    before = casfs.generation()
    done = casfs.add("one")
    assert done.stdout == "+ one 2.0\n+ two 1.0\n"
    assert casfs.generation() == before + 1
    assert sorted(index.fetched()) == ["one-2.0-py3-none-any.whl", "two-1.0-py3-none-any.whl"]
    assert leftovers(casfs) == []


def test_what_was_asked_for_is_marked_and_what_it_needs_is_not(casfs: Casfs, index: PackageIndex) -> None:
    index.offer("one", needs="two")
    index.offer("two")
    casfs.add("one")
    assert installed(casfs, "one") == {"REQUESTED", "INSTALLER"}  # and no direct_url.json: it came from an index (PEP 610)
    assert installed(casfs, "two") == {"INSTALLER"}
    casfs.add("two")
    assert installed(casfs, "two") == {"REQUESTED", "INSTALLER"}
    assert facts(casfs, "one")["origin"] == index.file_url("one-1.0-py3-none-any.whl")


def test_project_stays_requested_when_something_else_brings_another_version(casfs: Casfs, index: PackageIndex) -> None:
    index.offer("two", "1.0")
    casfs.add("two")
    index.offer("two", "2.0")
    index.offer("one", needs="two>1")
    casfs.environ["UV_CACHE_DIR"] = str(casfs.directory / "fresh")
    assert casfs.add("one").stdout == "+ one 1.0\n~ two 1.0 -> 2.0\n"
    assert "REQUESTED" in installed(casfs, "two")


def test_what_is_there_stays_as_it_is_unless_it_is_asked_for(casfs: Casfs, index: PackageIndex) -> None:
    index.offer("two", "1.0")
    index.offer("two", "2.0")
    index.offer("one", needs="two")
    casfs.add("two==1.0")
    assert casfs.add("one").stdout == "+ one 1.0\n"
    assert casfs.add("two").stdout == "= two 1.0\n"
    assert casfs.add("-U", "two").stdout == "~ two 1.0 -> 2.0\n"
    assert casfs.add("two<2").stdout == "~ two 2.0 -> 1.0\n"


def test_version_for_other_pythons_in_one_index_moves_nothing(casfs: Casfs, index: PackageIndex) -> None:
    """With several indexes together a resolver may look only at the first that has the present version, and find it of no use."""
    casfs.add(casfs.wheel("one", "2.0"))
    index.offer("one", "1.0")
    index.offer("one", "2.0")
    with PackageIndex() as other:
        foreign = make_wheel(None, "one", "2.0", tag="cp27-cp27m-manylinux1_x86_64")
        other.offer_file(foreign.filename, foreign.content)
        words = ("--extra-index-url", other.url, "--index-strategy", "unsafe-best-match")
        assert casfs.add(*words, "one").stdout == "= one 2.0\n"


def test_wheel_that_the_store_knows_is_not_fetched_again(casfs: Casfs, index: PackageIndex) -> None:
    index.offer("one", needs="two")
    index.offer("two")
    casfs.add("one")
    index.fetched()
    for is_html in (False, True):  # a page of HTML says no sizes
        index.is_html = is_html
        casfs.environ["UV_CACHE_DIR"] = str(casfs.directory / f"fresh{is_html}")
        done = casfs.run("add", "--env", f"other{is_html}", "one")
        assert done.stdout == "+ one 1.0\n+ two 1.0\n"
        assert "new to the pool: nothing" in done.stderr
        assert index.fetched() == []


def test_paths_urls_and_names_are_resolved_together(casfs: Casfs, index: PackageIndex) -> None:
    index.offer("two")
    index.offer("three")
    index.offer("four")
    local = casfs.wheel("local", metadata="Requires-Dist: two")
    done = casfs.add(local, index.file_url("three-1.0-py3-none-any.whl"), "four")
    assert done.stdout == "+ four 1.0\n+ local 1.0\n+ three 1.0\n+ two 1.0\n"
    assert facts(casfs, "local")["origin"] == str(local)
    assert installed(casfs, "local") == installed(casfs, "three") == {"REQUESTED", "INSTALLER", "direct_url.json"}
    assert installed(casfs, "two") == {"INSTALLER"}


def test_wheel_file_alone_asks_for_nothing(casfs: Casfs, index: PackageIndex) -> None:
    assert casfs.add(casfs.wheel("local", metadata="Requires-Dist: two")).stdout == "+ local 1.0\n"
    assert index.asked == []


def test_requirements_files_count_with_what_they_include(casfs: Casfs, index: PackageIndex) -> None:
    for name in ("one", "two", "three"):
        index.offer(name)
    (casfs.directory / "more.txt").write_text("two  # a comment\n")
    (casfs.directory / "requirements.txt").write_text("one==1.0\n-r more.txt\n")
    assert casfs.add("-r", casfs.directory / "requirements.txt", "three").stdout == "+ one 1.0\n+ three 1.0\n+ two 1.0\n"
    assert "REQUESTED" in installed(casfs, "two")


def test_find_links_without_an_index_need_no_network(casfs: Casfs, index: PackageIndex) -> None:
    wheel = casfs.wheel("local")
    assert casfs.add("--offline", "--no-index", "--find-links", wheel.parent, "local").stdout == "+ local 1.0\n"
    assert index.asked == []


def test_login_of_an_index_opens_its_files_and_is_recorded_nowhere(casfs: Casfs, index: PackageIndex) -> None:
    index.offer("one")
    index.login = ("somebody", "secret")
    casfs.run("add", "one", code=1)
    casfs.add("-i", f"http://somebody:secret@{index.host}/simple", "one")
    assert "secret" not in (casfs.store / "environments/default/current").read_text()


def test_login_of_an_index_that_a_requirements_file_names_opens_its_files(casfs: Casfs, index: PackageIndex) -> None:
    index.offer("one")
    index.login = ("somebody", "secret")
    del casfs.environ["UV_INDEX_URL"]
    (casfs.directory / "requirements.txt").write_text(f"-i http://somebody:secret@{index.host}/simple\none\n")
    assert casfs.add("-r", casfs.directory / "requirements.txt").stdout == "+ one 1.0\n"


def test_login_in_netrc_opens_files(casfs: Casfs, index: PackageIndex) -> None:
    index.offer("one")
    index.login = ("somebody", "secret")
    netrc = casfs.directory / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password secret\n")
    netrc.chmod(0o600)
    assert casfs.run("add", "one", environ={"NETRC": str(netrc)}).stdout == "+ one 1.0\n"


def test_pip_s_configuration_counts_where_uv_has_none(casfs: Casfs, index: PackageIndex) -> None:
    index.offer("one")
    del casfs.environ["UV_INDEX_URL"]
    config = casfs.directory / "pip.conf"
    config.write_text(f"[global]\nindex-url = {index.url}\n")
    assert casfs.run("add", "one", environ={"PIP_CONFIG_FILE": str(config)}).stdout == "+ one 1.0\n"
    with PackageIndex() as other:
        other.offer("two")
        environ = {"PIP_CONFIG_FILE": str(config), "PIP_INDEX_URL": other.url}
        assert casfs.run("add", "two", environ=environ).stdout == "+ two 1.0\n"


def test_uv_s_configuration_file_counts(casfs: Casfs, index: PackageIndex) -> None:
    index.offer("one")
    index.login = ("somebody", "secret")
    for name in ("UV_INDEX_URL", "UV_NO_CONFIG"):
        del casfs.environ[name]
    config = casfs.directory / "uv.toml"
    config.write_text(f'[[index]]\nname = "ours"\nurl = "{index.url}"\ndefault = true\n')
    environ = {"UV_CONFIG_FILE": str(config), "UV_INDEX_OURS_USERNAME": "somebody", "UV_INDEX_OURS_PASSWORD": "secret"}
    assert casfs.run("add", "one", environ=environ).stdout == "+ one 1.0\n"


# --- what goes wrong


def test_name_that_nobody_has_is_told_by_uv_and_changes_nothing(casfs: Casfs, index: PackageIndex) -> None:
    before = casfs.generation()
    done = casfs.run("add", "nothere", code=1)
    assert "nothere was not found" in done.stderr
    assert done.stdout == ""
    assert casfs.generation() == before
    assert leftovers(casfs) == []


@pytest.mark.parametrize("words", [[], ["-i", "http://127.0.0.1:1/simple"]])
def test_nothing_to_add_is_wrong_usage(casfs: Casfs, words: list[str]) -> None:
    assert "name something to add" in casfs.run("add", *words, code=2).stderr.splitlines()[-1]


FAULTS = [
    (package_index.is_cut, "can't be fetched"),
    (package_index.is_short, "bytes and should have"),
    (package_index.is_other, "has the SHA-256"),
    (package_index.is_missing, "the server answered 404"),
    (package_index.is_in_trouble, "the server answered 500"),
    (package_index.is_reset, "can't be fetched: connection reset"),
    (package_index.is_endless, "is larger than"),
]


@pytest.mark.parametrize(("fault", "words"), FAULTS, ids=lambda one: getattr(one, "__name__", ""))
def test_file_that_does_not_come_as_it_should_is_named_and_nothing_is_added(
    casfs: Casfs, index: PackageIndex, fault: Callable[..., None], words: str
) -> None:
    index.offer("one", needs="bad")
    index.offer("bad", size=1_000_000)
    index.faults["bad-1.0-py3-none-any.whl"] = fault
    before = casfs.generation()
    done = casfs.run("add", "one", code=1)
    [line] = [line for line in done.stderr.splitlines() if not line.startswith("Resolved")]
    assert line.startswith(f"casfs: {index.file_url('bad-1.0-py3-none-any.whl')}: ")
    assert words in line
    assert casfs.generation() == before
    assert leftovers(casfs) == []
    assert os.listdir(casfs.store / "wheels") == []


def test_wheel_that_is_refused_is_named_by_its_url(casfs: Casfs, index: PackageIndex) -> None:
    wheel = pack(with_record(lambda rows: [("demo/__init__.py", "sha256=" + "A" * 43, "10"), *rows[1:]]))
    index.offer_file(wheel.filename, wheel.content)
    done = casfs.run("add", "demo", code=1)
    assert f"casfs: {index.file_url(wheel.filename)}: " in done.stderr
    assert listed(casfs) == {}


@pytest.mark.parametrize("fault", [package_index.is_cut, package_index.is_in_trouble, package_index.is_reset], ids=lambda one: one.__name__)
def test_download_that_breaks_once_is_taken_up_again(casfs: Casfs, index: PackageIndex, fault: Callable[..., None]) -> None:
    index.offer("one", size=1_000_000)
    index.faults["one-1.0-py3-none-any.whl"] = package_index.once(fault)
    assert casfs.add("one").stdout == "+ one 1.0\n"


def test_index_without_hashes_is_no_obstacle(casfs: Casfs, index: PackageIndex) -> None:
    """The resolver fetches the wheel and computes its hash."""
    index.offer("one")
    index.digests["one-1.0-py3-none-any.whl"] = ""
    assert casfs.add("one").stdout == "+ one 1.0\n"


@pytest.mark.parametrize(("number", "code", "said"), [(signal.SIGINT, 130, "casfs: interrupted\n"), (signal.SIGTERM, 143, "")])
def test_download_that_is_ended_leaves_nothing_unfinished(
    casfs: Casfs, index: PackageIndex, number: signal.Signals, code: int, said: str
) -> None:
    index.offer("one", size=1_000_000)
    index.faults["one-1.0-py3-none-any.whl"] = package_index.is_silent
    before = casfs.generation()
    process = subprocess.Popen(casfs.command("add", "one"), env=casfs.environ, stderr=subprocess.PIPE, text=True, start_new_session=True)
    while not any(path.stat().st_size for path in (casfs.store / "tmp").rglob("*.whl")):
        assert process.poll() is None
    process.send_signal(number)
    assert process.communicate(timeout=240)[1] == said
    assert process.returncode == code
    assert casfs.generation() == before
    assert leftovers(casfs) == []
    kept = casfs.store / "downloads" / index.digests["one-1.0-py3-none-any.whl"]
    size = kept.stat().st_size
    starts: list[str | None] = []

    def serve_the_rest(handler: Any, content: bytes) -> None:
        starts.append(handler.headers.get("Range"))
        handler.answer(206, content[size:], **{"Content-Range": f"bytes {size}-{len(content) - 1}/{len(content)}"})

    index.faults["one-1.0-py3-none-any.whl"] = serve_the_rest
    assert casfs.add("one").stdout == "+ one 1.0\n"
    assert starts == [f"bytes={size}-"]
    assert not kept.exists()


def keep(casfs: Casfs, wheel: MadeWheel, content: bytes) -> Path:
    """As if an earlier command had left this of a wheel."""
    kept = casfs.store / "downloads" / hashlib.sha256(wheel.content).hexdigest()
    kept.parent.mkdir(exist_ok=True)
    kept.write_bytes(content)
    return kept


def test_download_that_is_there_whole_is_not_fetched_again(casfs: Casfs, index: PackageIndex) -> None:
    wheel = index.offer("one")
    keep(casfs, wheel, wheel.content)
    index.fetched()
    assert casfs.add("one").stdout == "+ one 1.0\n"
    assert index.fetched() == []


@pytest.mark.parametrize("length", [10, None, 1_000_000], ids=["too short", "of the right size", "too long"])
def test_download_that_somebody_else_left_is_not_believed(casfs: Casfs, index: PackageIndex, length: int | None) -> None:
    wheel = index.offer("one", size=5000)
    keep(casfs, wheel, bytes(length or len(wheel.content)))
    index.faults[wheel.filename] = package_index.with_ranges
    assert casfs.add("one").stdout == "+ one 1.0\n"
    assert os.listdir(casfs.store / "downloads") == []


def test_downloads_that_are_kept_are_collected(casfs: Casfs, index: PackageIndex) -> None:
    keep(casfs, index.offer("one"), b"x" * 5000)
    assert "1 unfinished download" in casfs.run("collect", "--dry-run").stdout
    assert casfs.run("collect").stdout == "freed 8.2 kB: 1 unfinished download\n"
    assert os.listdir(casfs.store / "downloads") == []


def test_full_disk_is_told_and_leaves_nothing(casfs: Casfs, index: PackageIndex) -> None:
    index.offer("one", size=3_000_000)
    before = casfs.generation()
    done = casfs.run("add", "one", code=1, prefix=("prlimit", "--fsize=1000000"))  # EFBIG comes where ENOSPC would
    assert "file too large" in done.stderr
    assert casfs.generation() == before
    assert leftovers(casfs) == []


def test_memory_stays_flat_for_a_large_wheel(casfs: Casfs, index: PackageIndex) -> None:
    """A wheel of 60 MB that is fetched; the limit is on what Python may allocate beyond what it needs to start and to run threads."""
    index.offer("one", size=60_000_000)
    source = (
        "from casfs.cli.main import main\n"
        "try:\n    main(['add', 'one'])\nexcept SystemExit as end:\n    assert not end.code\n"
        "print(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')).split()[1])"
    )
    done = subprocess.run(
        [sys.executable, "-c", source], env=casfs.environ, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]
    )
    assert int(done.stdout.splitlines()[-1]) < 110_000  # KiB


def test_project_is_built(casfs: Casfs) -> None:
    project = make_project(casfs.directory / "project", make_wheel(None, "built"))
    assert casfs.add(project).stdout == "+ built 1.0\n"
    assert facts(casfs, "built")["origin"] == str(project)
    assert leftovers(casfs) == []


def test_source_distribution_of_an_index_is_built(casfs: Casfs, index: PackageIndex) -> None:
    project = make_project(casfs.directory / "project", make_wheel(None, "built"))
    index.offer_file("built-1.0.tar.gz", pack_project(project, "built"))
    assert casfs.add("built").stdout == "+ built 1.0\n"
    assert casfs.add("built").stdout == "= built 1.0\n"
    digest = index.digests["built-1.0.tar.gz"]
    assert facts(casfs, "built")["origin"] == f"{index.file_url('built-1.0.tar.gz')}#sha256={digest}"


def test_repository_is_checked_out_and_built(casfs: Casfs) -> None:
    project = make_project(casfs.directory / "project", make_wheel(None, "built"))
    commit = commit_project(project)
    assert casfs.add(f"built @ git+file://{project}").stdout == "+ built 1.0\n"
    assert facts(casfs, "built")["origin"] == f"git+file://{project}@{commit}"
    assert leftovers(casfs) == []


def test_keyring_is_asked_for_the_user_that_is_named(casfs: Casfs, index: PackageIndex) -> None:
    index.offer("one")
    index.login = ("somebody", "secret")
    program = casfs.directory / "bin/keyring"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\n[ "$1" = get ] && [ "$3" = somebody ] && echo secret\n')
    program.chmod(0o755)
    words = ("--keyring-provider", "subprocess", "-i", f"http://somebody@{index.host}/simple")
    environ = {"PATH": f"{program.parent}:{os.environ['PATH']}"}
    assert casfs.run("add", *words, "one", environ=environ).stdout == "+ one 1.0\n"


def test_what_the_pool_has_lost_is_fetched_again(casfs: Casfs, index: PackageIndex) -> None:
    index.offer("one", needs="two")
    index.offer("two", size=500)
    casfs.add("one")
    index.fetched()
    mount = casfs.mount()
    lost = facts(casfs, f"{site_packages(mount)}/two/data")["sha256"]
    casfs.umount(mount)
    casfs.blob(str(lost)).unlink()
    casfs.run("fsck", "--repair", code=3)
    casfs.add("one")
    assert index.fetched() == ["two-1.0-py3-none-any.whl"]
    casfs.run("fsck")


def test_a_generation_says_what_was_typed(casfs: Casfs, index: PackageIndex) -> None:
    index.offer("one", needs="two")
    index.offer("two")
    casfs.add("one>=1", "two")
    assert json.loads(casfs.run("generations", "--json").stdout)[-1]["command"] == "add 'one>=1' two"
