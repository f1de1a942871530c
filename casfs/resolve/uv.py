"""uv: the program that resolves, builds and exports. What it makes is read from files.

What it says is shown only if it fails, but for its warnings.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO

from casfs.errors import BuildFailed, FetchFailed, reason_of
from casfs.lockfiles.lockfile import Choice
from casfs.resolve.build_log import in_lines, read_said, shorten
from casfs.resolve.limits import RESOLVE_LIMIT_S
from casfs.store.publish import naming

_BUILD_OPTIONS = {"--no-index": 0, "--offline": 0, "--index": 1, "--default-index": 1, "--index-url": 1, "--extra-index-url": 1}
_BUILD_OPTIONS |= {"--find-links": 1, "--index-strategy": 1, "--keyring-provider": 1, "--allow-insecure-host": 1}
"""Options that `uv build` knows too, and how many words follow them."""


_OF_STANDARD_INPUT = re.compile(r" in `-` at position \d+")
"""Requirements that were typed reach uv by its standard input, of which nobody else knows."""

_WARNING = "warning: "


@dataclass(frozen=True, slots=True)
class Uv:
    """uv, and how it is to be run."""

    program: str
    options: tuple[str, ...]
    environ: Mapping[str, str]
    warn: Callable[[str], None] = lambda text: None  # what hears of its warnings

    def compile(self, python: str, lines: Sequence[str], files: Sequence[str], preferred: str, lock: str, *more: str) -> str:
        """`lock`, a path of a lock file (PEP 751) for what lines and files of projects ask for; versions in `preferred` stay if they can.

        If its name ends in `.txt`, it is a requirements file.
        """
        with naming(lock):
            Path(lock).write_text(preferred, encoding="utf-8")
        form = "requirements.txt" if lock.endswith(".txt") else "pylock.toml"
        command = ["pip", "compile", "--format", form, "--no-header", "--no-annotate"]
        sources = [*files, *(["-"] if lines or not files else [])]
        command += ["--python", python, "--output-file", lock, *self.options, *more, "--", *sources]
        self._run(command, "\n".join(lines), limit_s=RESOLVE_LIMIT_S)
        return lock

    def verify(self, python: str, lines: Sequence[str], files: Sequence[str], directory: str, *more: str) -> None:
        """Let uv compare the hashes of whatever it would have to build to know what it needs, before that is built."""
        quiet = [] if "--quiet" in self.options else ["--quiet"]
        command = ["pip", "install", "--dry-run", *quiet, "--python", python, "--target", directory, *self.options, *more]
        command += [*(word for file in files for word in ("-r", file)), "-r", "-"]
        self._run(command, "\n".join(lines), limit_s=RESOLVE_LIMIT_S)

    def export(self, python: str, lock: str, choice: Choice, directory: str) -> str:
        """Path of a lock file (PEP 751) for what a uv.lock holds, but its own project: what `choice` names."""
        made = f"{directory}/pylock.toml"
        project = os.path.dirname(os.path.abspath(lock))
        how = ["--frozen", "--no-emit-project", "--no-header", "--no-annotate"]
        self._run(
            ["export", "--format", "pylock.toml", *how, *_choice_options(choice), "--python", python, "--project", project, "-o", made], ""
        )
        return made

    def build(self, python: str, source: str, directory: str) -> str:
        """Path of the wheel that was built, in isolation, from a source distribution or a project's directory. Raises BuildFailed."""
        os.mkdir(directory, 0o700)
        words = ["build", "--wheel", "--python", python, "--out-dir", directory, *self._build_options(), "--", source]
        said = f"{directory}/said"
        try:
            with open(said, "wb") as file:
                self._run(words, "", file)
        except FetchFailed as error:
            raise BuildFailed(error.subject, *error.reasons, said=read_said(said)) from None
        wheels = [name for name in os.listdir(directory) if name.endswith(".whl")]
        if len(wheels) != 1:
            raise FetchFailed(source, "was built, but into no wheel")
        return f"{directory}/{wheels[0]}"

    def make_environment(self, python: str, directory: str) -> None:
        """Make an empty virtual environment."""
        self._run(["venv", "--quiet", "--no-project", "--python", python, directory], "")

    def install(self, environment: str, requirements: Sequence[str]) -> None:
        """Install what is required, and what that needs, into a virtual environment."""
        if requirements:
            self._run(["pip", "install", "--quiet", "--python", environment, *self._build_options(), "-r", "-"], "\n".join(requirements))

    def _build_options(self) -> list[str]:
        words, kept = list(self.options), []
        while words:
            option = words.pop(0)
            taken = [option, *words[: _BUILD_OPTIONS.get(option, 0)]]
            if option in _BUILD_OPTIONS:
                kept += taken
        return kept

    def _run(self, words: Sequence[str], given: str, said: IO[bytes] | None = None, limit_s: float | None = None) -> None:
        """Run uv to its end. Raises FetchFailed, which holds what it said if that is not in the file `said`."""
        import subprocess

        where = said or subprocess.PIPE
        try:
            done = subprocess.run(
                [self.program, *words],
                input=given.encode("utf-8", "surrogateescape"),
                env=self.environ,
                stdout=subprocess.DEVNULL,
                stderr=where,
                check=False,
                timeout=limit_s,
            )
        except subprocess.TimeoutExpired:
            raise FetchFailed("uv", f"was ended because it took longer than {limit_s:g} seconds") from None
        except OSError as error:
            raise FetchFailed(self.program, f"can't be run: {reason_of(error)}") from None
        told = done.stderr or b""
        lines = in_lines(_OF_STANDARD_INPUT.sub("", told.decode("utf-8", "replace")))
        if done.returncode:
            reason = f"failed{' for the reason above' if lines else ''}; nothing has changed"
            raise FetchFailed("uv", reason, said=shorten(lines, lambda: BytesIO(told)))
        for line in lines:
            if line.startswith(_WARNING):
                self.warn(line.removeprefix(_WARNING))


def _choice_options(choice: Choice) -> list[str]:
    """How uv is told what is wanted of a uv.lock. Who does without `dev` does not care whether there is such a group."""
    options = [
        *(("--extra", extra) for extra in choice.extras),
        *(("--no-extra", one) for one in choice.without_extras),
        *(("--group", group) for group in choice.groups),
        *(("--no-dev",) if one == "dev" else ("--no-group", one) for one in choice.without_groups),
        *(("--only-group", one) for one in choice.only_groups),
        ("--all-extras",) if choice.has_all_extras else (),
        ("--all-groups",) if choice.has_all_groups else (),
        () if choice.has_default_groups else ("--no-default-groups",),
    ]
    return [word for words in options for word in words]


def find_uv(environ: Mapping[str, str]) -> str:
    """The uv that was installed with casfs, else that of the PATH. Raises FetchFailed."""
    try:
        from uv import find_uv_bin

        return str(find_uv_bin())
    except (ImportError, FileNotFoundError):
        if found := shutil.which("uv", path=environ.get("PATH")):
            return found
    raise FetchFailed("uv", "is not installed; names and lock files need it (`pip install uv`)")
