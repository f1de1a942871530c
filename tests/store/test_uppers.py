"""Upper layers on disk: one is current, the next one is built beside it, and nothing goes that an overlay may still use."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from casfs.errors import StoreDamaged
from casfs.store import publish
from casfs.store.environments import Environment
from casfs.store.store import Store
from casfs.store.uppers import Upper, current_upper, make_current, next_upper, remove_tree, require_upper, sweep_uppers
from tests.store.making import publish_generation
from tests.store.racing import run_both

REQUIRE_UPPER = """
import sys
from pathlib import Path
from casfs.store.environments import Environment
from casfs.store.store import open_store
from casfs.store.uppers import require_upper
environment = Environment(open_store(Path(sys.argv[1])), "work")
print("ready", flush=True)
sys.stdin.readline()
assert require_upper(environment).number == 1
"""


@pytest.fixture
def environment(store: Store) -> Environment:
    environment = Environment(store, "work")
    publish_generation(environment)
    return environment


def nobody(path: str) -> bool:
    return False


def follow(environment: Environment) -> Upper:
    """The next upper layer, current."""
    with environment.locked():
        upper = next_upper(environment)
        make_current(environment, upper)
    return upper


def test_an_environment_that_nobody_wrote_into_has_no_upper_layer(environment: Environment):
    assert current_upper(environment) is None
    sweep_uppers(environment, nobody)
    assert not os.path.exists(f"{environment.directory}/upper")


def test_who_requires_an_upper_layer_gets_the_same_one_each_time(environment: Environment):
    upper = require_upper(environment)
    assert upper == require_upper(environment) == current_upper(environment)
    assert upper.number == 1
    assert os.listdir(upper.files) == []


def test_two_who_require_the_first_upper_layer_get_one(environment: Environment):
    run_both(REQUIRE_UPPER, environment.store.root)
    assert sorted(os.listdir(f"{environment.directory}/upper")) == ["1", "current"]


def test_files_are_readable_for_all_and_the_directory_around_them_is_closed(environment: Environment):
    old = os.umask(0o077)
    try:
        upper = require_upper(environment)
    finally:
        os.umask(old)
    assert os.stat(upper.files).st_mode & 0o7777 == 0o755
    assert os.stat(upper.directory).st_mode & 0o7777 == 0o700


def test_files_belong_to_the_owner_of_the_environment(environment: Environment):
    owner = (1234, 2345) if os.geteuid() == 0 else (os.geteuid(), os.getegid())  # only root can give an environment away
    os.chown(environment.directory, *owner)
    found = os.stat(require_upper(environment).files)
    assert (found.st_uid, found.st_gid) == owner


def test_work_directories_are_new_each_time(environment: Environment):
    upper = require_upper(environment)
    one, other = upper.new_work(), upper.new_work()
    assert one != other
    assert os.listdir(one) == os.listdir(other) == []
    assert os.stat(one).st_dev == os.stat(upper.files).st_dev


def test_the_next_upper_layer_is_empty_and_not_current_until_it_is_made_so(environment: Environment):
    first = require_upper(environment)
    Path(first.files, "note").write_text("kept")
    with environment.locked():
        second = next_upper(environment)
        assert current_upper(environment) == first
        make_current(environment, second)
    assert current_upper(environment) == second
    assert (second.number, os.listdir(second.files)) == (2, [])
    assert Path(first.files, "note").read_text() == "kept"


def test_a_failed_sync_leaves_the_old_one_current(environment: Environment, monkeypatch: pytest.MonkeyPatch):
    first = require_upper(environment)

    def fail(fd: int) -> None:
        raise OSError(5, "Input/output error")

    with environment.locked():
        second = next_upper(environment)
        monkeypatch.setattr(publish, "sync_file_system", fail)
        with pytest.raises(OSError, match="Input/output error"):
            make_current(environment, second)
    assert current_upper(environment) == first


def test_sweep_removes_what_is_not_current(environment: Environment):
    first = require_upper(environment)
    first.new_work()
    second = follow(environment)
    sweep_uppers(environment, nobody)
    assert sorted(os.listdir(f"{environment.directory}/upper")) == ["2", "current"]
    assert current_upper(environment) == second


@pytest.mark.parametrize("part", ["files", "work"])
def test_sweep_leaves_an_old_upper_layer_that_an_overlay_uses(environment: Environment, part: str):
    first = require_upper(environment)
    unused, used = first.new_work(), first.files if part == "files" else first.new_work()
    Path(first.files, "note").write_text("open somewhere")
    follow(environment)
    sweep_uppers(environment, lambda path: path == used)
    assert Path(first.files, "note").read_text() == "open somewhere"
    assert os.path.isdir(used)
    assert not os.path.exists(unused)


def test_sweep_removes_unused_work_directories_of_the_current_one(environment: Environment):
    upper = require_upper(environment)
    unused, used = upper.new_work(), upper.new_work()
    os.mkdir(f"{unused}/work", 0o000)  # as the kernel makes it
    sweep_uppers(environment, lambda path: path == used)
    assert os.listdir(f"{upper.directory}/work") == [os.path.basename(used)]
    assert os.path.isdir(upper.files)


def test_numbers_of_swept_layers_are_not_given_again_while_a_later_one_is_current(environment: Environment):
    for number in (1, 2, 3):
        assert follow(environment).number == number
        sweep_uppers(environment, nobody)


def plant_file(link: Path) -> None:
    link.write_text("1")


def plant_stranger(link: Path) -> None:
    link.symlink_to("../../../../etc")


def plant_nothing(link: Path) -> None:
    link.symlink_to("7")


@pytest.mark.parametrize("plant", [plant_file, plant_stranger, plant_nothing])
def test_a_damaged_link_is_named(environment: Environment, plant: Callable[[Path], None]):
    link = Path(environment.directory, "upper", "current")
    link.parent.mkdir()
    plant(link)
    for ask in (current_upper, require_upper):
        with pytest.raises(StoreDamaged, match="current"):
            ask(environment)
    with pytest.raises(StoreDamaged):
        sweep_uppers(environment, nobody)


def test_removing_a_tree_follows_no_link_and_minds_no_depth(tmp_path: Path):
    outside, tree = tmp_path / "outside", tmp_path / "tree"
    outside.mkdir()
    (outside / "precious").write_text("still here")
    tree.mkdir()
    fd = os.open(tree, os.O_RDONLY)
    for _ in range(3000):  # deeper than PATH_MAX and than Python's recursion
        os.mkdir("deeper", dir_fd=fd)
        os.symlink(outside, "link", dir_fd=fd, target_is_directory=True)
        os.close(os.open("x", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
        deeper = os.open("deeper", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = deeper
    os.close(fd)
    remove_tree(str(tree))
    assert not tree.exists()
    assert (outside / "precious").read_text() == "still here"


def test_a_link_in_place_of_a_tree_is_not_followed(tmp_path: Path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "precious").write_text("still here")
    (tmp_path / "tree").symlink_to("outside")
    with pytest.raises(OSError):
        remove_tree(str(tmp_path / "tree"))
    assert (tmp_path / "outside" / "precious").exists()


def test_a_lost_link_loses_nothing_of_the_first_upper_layer(environment: Environment) -> None:
    """It is made without waiting for the disk."""
    upper = require_upper(environment)
    (Path(upper.files) / "written").write_text("by a tool")
    os.unlink(f"{environment.directory}/upper/current")
    assert current_upper(environment) == upper
    assert require_upper(environment) == upper
