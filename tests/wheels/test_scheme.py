"""Places: every member lands where pip would put it, and never where it must not."""

from __future__ import annotations

import posixpath
import re

from hypothesis import example, given
from hypothesis import strategies as st

from casfs.paths import SITE_PACKAGES, path_problem
from casfs.wheels.wheel import Wheel, read_wheel
from tests.make_wheels import DATA, INFO, QUIRKS, MadeWheel, demo_members, make_wheel, pack, unless_refused
from tests.wheels.zip_writer import ZipMember


def _read(made: MadeWheel) -> Wheel:
    return read_wheel(made.source(), made.filename)


def _places(made: MadeWheel) -> dict[str, str]:
    """Path of each file by its name in the archive."""
    return {file.member.name: file.path for file in _read(made).files}


def test_each_scheme_has_its_directory():
    made = make_wheel(
        {
            "root.py": b"",
            f"{DATA}/purelib/pure.py": b"",
            f"{DATA}/platlib/plat/x.so": b"",
            f"{DATA}/scripts/tool": b"",
            f"{DATA}/scripts/below/tool": b"",
            f"{DATA}/headers/deep/demo.h": b"",
            f"{DATA}/data/share/x": b"",
            f"{DATA}/data/lib64/x.so": b"",
            f"{DATA}/data/lib64.txt": b"",
            f"{DATA}/data/bin/other": b"",
        }
    )
    places = _places(made)
    assert {name: path for name, path in places.items() if not name.startswith(INFO)} == {
        "root.py": f"{SITE_PACKAGES}/root.py",
        f"{DATA}/purelib/pure.py": f"{SITE_PACKAGES}/pure.py",
        f"{DATA}/platlib/plat/x.so": f"{SITE_PACKAGES}/plat/x.so",
        f"{DATA}/scripts/tool": "bin/tool",
        f"{DATA}/scripts/below/tool": "bin/below/tool",
        f"{DATA}/headers/deep/demo.h": "include/site/{python}/demo/deep/demo.h",
        f"{DATA}/data/share/x": "share/x",
        f"{DATA}/data/lib64/x.so": "lib/x.so",
        f"{DATA}/data/lib64.txt": "lib64.txt",
        f"{DATA}/data/bin/other": "bin/other",
    }


def test_headers_lie_below_the_normalised_project_name():
    made = make_wheel({"De.Mo-1.0.data/headers/x.h": b""}, "De.Mo")
    assert _places(made)["De.Mo-1.0.data/headers/x.h"] == "include/site/{python}/de-mo/x.h"


def test_scripts_are_executable_whatever_their_mode():
    made = make_wheel({f"{DATA}/scripts/tool": b"", f"{DATA}/data/bin/other": b""})
    executable = {file.path: file.executable for file in _read(made).files}
    assert executable["bin/tool"]
    assert not executable["bin/other"]


def test_files_come_sorted_by_path():
    paths = [file.path for file in _read(QUIRKS["modes"]).files]
    assert paths == sorted(paths)


def test_record_and_the_installers_files_are_left_out():
    places = _places(QUIRKS["installer's files"])
    assert {name.rpartition("/")[2] for name in places} == {"METADATA", "WHEEL"}


def test_the_installers_names_are_free_elsewhere():
    names = {"INSTALLER", "demo/RECORD", "demo/direct_url.json", f"{INFO}/licenses/INSTALLER"}
    assert names <= _places(make_wheel(dict.fromkeys(names, b""))).keys()


def test_signatures_are_installed_with_nothing_to_compare_them_with():
    records = {file.member.name: file.record for file in _read(QUIRKS["signatures"]).files}
    assert records[f"{INFO}/RECORD.jws"] is None
    assert records[f"{INFO}/RECORD.p7s"] is None
    assert records["demo/__init__.py"] is not None


def test_a_launcher_replaces_the_scripts_that_setuptools_made_for_it():
    scripts = [path for path in _places(QUIRKS["launcher replaces script"]).values() if path.startswith("bin/")]
    assert scripts == ["bin/kept"]


def test_directory_entries_are_not_files():
    assert all(not file.path.endswith("/") for file in _read(QUIRKS["directory entries"]).files)


_COMPONENTS = st.sampled_from(
    ["..", ".", "", "lib", "lib64", "bin", "python", "python3.12", "pyvenv.cfg", "activate", "site-packages", "{python}", "x", "X", INFO,
     "RECORD", "INSTALLER", "other-1.dist-info", "é", " x", "a\\b", "n" * 256]
)  # fmt: skip
_PATHS = st.lists(_COMPONENTS | st.text(max_size=3), min_size=1, max_size=5).map("/".join)
_PREFIXES = st.sampled_from(["", *(f"{DATA}/{scheme}/" for scheme in ("data", "scripts", "headers", "purelib", "platlib", "etc"))])
_TAKEN = re.compile(r"pyvenv\.cfg(/|$)|bin/(python[0-9.]*|activate)(/|$)|lib64(/|$)|(lib|bin|include)$", re.IGNORECASE)


@given(_PREFIXES, _PATHS)
@example(f"{DATA}/data/", "lib64/../bin/python")
@example(f"{DATA}/data/", "lib/python3.12/site-packages/x")
def test_every_place_is_inside_and_no_place_is_the_environments_own(prefix: str, path: str):
    wheel = unless_refused(_read, pack(demo_members(ZipMember(prefix + path))))
    paths = [file.path for file in wheel.files] if wheel else []
    assert len(paths) == len(set(paths))
    for place in paths:
        assert path_problem(place) is None
        assert posixpath.normpath(f"/{place}") == f"/{place}"
        assert not _TAKEN.match(place)
        assert not place.endswith(f"{INFO}/RECORD")
        assert place.count("{python}") <= 1
