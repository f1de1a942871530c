"""README and the manual: every link leads somewhere, every message is one of ours, and every example does what it shows."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.make_wheels import make_wheel
from tests.mounted.harness import REPOSITORY, Casfs

MANUAL = REPOSITORY / "casfs/manual"
PAGES = sorted(MANUAL.glob("*.md"))
DOCUMENTS = [REPOSITORY / "README.md", *PAGES]

_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")
_FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_EXAMPLES = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)


def by_name(path: Path) -> str:
    return path.stem


def anchors_of(page: Path) -> set[str]:
    """Those that GitHub gives headings."""
    titles = re.findall(r"^#+ (.*)$", _FENCED.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", DOCUMENTS, ids=by_name)
def test_every_link_leads_somewhere(page: Path):
    for link in (one or other for one, other in _LINK.findall(page.read_text())):
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.is_file(), link
        assert not anchor or anchor in anchors_of(target), link


def test_readme_leads_to_every_page_and_is_short():
    text = (REPOSITORY / "README.md").read_text()
    assert [page.name for page in PAGES if f"casfs/manual/{page.name})" not in text] == []
    assert (len(text.splitlines()) <= 250, len(text.encode()) <= 15_000) == (True, True)


def test_every_message_that_is_explained_is_one_of_ours():
    source = "".join(path.read_text() for path in (REPOSITORY / "casfs").rglob("*.py"))
    source = re.sub(r'"\s*\n\s*f?"', "", source)
    rows = re.findall(r"^\| (.*?) \| ", (MANUAL / "troubleshooting.md").read_text(), re.MULTILINE)
    parts = [part.strip(" ;:,") for row in rows if row != "message" for part in re.split(r"\.\.\.|\(.*?\)", row)]
    assert [part for part in parts if len(part) > 3 and part not in source] == []
    assert len(parts) > 30


def test_every_file_that_is_named_is_there():
    for page in PAGES:
        for name in re.findall(r"`((?:casfs|tests|scripts)/[\w/]+(?:\.py)?)/?`", page.read_text()):
            assert (REPOSITORY / name).exists() or "NAME" in name, (page.name, name)
        for name in re.findall(r"`(casfs(?:\.\w+)+)`", page.read_text()):
            path = name.replace(".", "/")
            parent = path.rpartition("/")[0]
            assert any((REPOSITORY / one).exists() for one in (f"{path}.py", path, f"{parent}.py", parent)), (page.name, name)


def iter_steps(page: Path) -> Iterator[tuple[str, list[str]]]:
    """Each command of a page, and the lines that it shows."""
    for block in _EXAMPLES.findall(page.read_text()):
        for step in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, *shown = step.splitlines()
            yield command, shown


@pytest.mark.parametrize("page", [page for page in DOCUMENTS if _EXAMPLES.search(page.read_text())], ids=by_name)
def test_every_example_does_what_it_shows(page: Path, casfs: Casfs):
    directory = casfs.directory / "work"
    directory.mkdir()
    for name, version in (("demo", "1.0"), ("demo", "2.0"), ("other", "1.0")):
        make_wheel({f"{name}/__init__.py": f"VALUE = {version[0]}\n".encode()}, name, version).write_to(directory)
    environ = {**casfs.environ, "PATH": f"{REPOSITORY / '.venv/bin'}:{casfs.environ['PATH']}"}
    for command, shown in iter_steps(page):
        done = subprocess.run(["bash", "-c", command], cwd=directory, env=environ, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (command, done.stderr)
        said = [*done.stdout.splitlines(), *done.stderr.splitlines()]
        expected = shown[: shown.index("...")] if "..." in shown else shown
        assert said[: len(expected)] == expected, command
        if "..." not in shown and shown:
            assert len(said) == len(shown), command


def test_the_manual_lists_its_topics_shows_one_and_helps_with_a_slip(casfs: Casfs):
    topics = casfs.run("manual").stdout
    assert all(page.stem in topics for page in PAGES)
    assert casfs.run("manual", "mounts").stdout == (MANUAL / "mounts.md").read_text()
    assert "did you mean 'mounts'?" in casfs.run("manual", "mount", code=1).stderr
