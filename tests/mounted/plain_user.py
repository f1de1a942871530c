"""A plain user, in a mount namespace of their own: there /dev/fuse is theirs to open, and the interpreter and casfs can be reached.

Nothing of the machine is changed, so nothing has to be put back: the namespace ends with its last process.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType

from tests.mounted.harness import REPOSITORY, is_alive, is_readable

UID = 12345
HOME = Path("/mnt/home")

_SETUP = """
import os, subprocess, sys

def mount(*words):
    subprocess.run(["mount", *words], check=True)

def is_open(path):
    return os.stat(path).st_mode & 0o005 == 0o005

def first_closed(path):
    parts = path.split("/")
    closed = (head for head in ("/".join(parts[:end]) or "/" for end in range(1, len(parts) + 1)) if not is_open(head))
    return next(closed, None)

def open_way(needed):
    # an empty directory takes the place of the closed one, and in it only what is needed
    while (closed := next(filter(None, map(first_closed, needed)), None)):
        inside = [path for path in needed if path.startswith(closed + "/")]
        held = [os.open(path, os.O_PATH) for path in inside]
        mount("-t", "tmpfs", "-o", "mode=0755", "casfs-test", closed)
        for path, fd in zip(inside, held):
            os.makedirs(path, exist_ok=True)
            subprocess.run(["mount", "--no-canonicalize", "--bind", f"/proc/self/fd/{fd}", path], check=True, pass_fds=[fd])

home, uid, *needed = sys.argv[1:]
mount("--make-rprivate", "/")
with open("/proc/self/mountinfo") as file:
    for line in file:  # a copy of a mount keeps its daemon from ending
        if " - fuse" in line:
            subprocess.run(["umount", "--lazy", line.split()[4]])
mount("-t", "tmpfs", "-o", "mode=0755", "casfs-test", "/mnt")
os.mkdir(home)
os.chown(home, int(uid), int(uid))
os.mknod("/mnt/fuse", 0o020666, os.makedev(10, 229))
os.chmod("/mnt/fuse", 0o666)
mount("--bind", "/mnt/fuse", "/dev/fuse")
with open("/etc/passwd") as known, open("/mnt/passwd", "w") as ours:
    ours.write(known.read() + f"casfs-test:x:{uid}:{uid}::{home}:/bin/sh\\n")  # fusermount3 wants to know the name
mount("--bind", "/mnt/passwd", "/etc/passwd")
open_way(needed)
print("ready", flush=True)
sys.stdin.read()
"""


class PlainUser:
    """A user who owns nothing but a home; leaving the block ends what they run."""

    def __init__(self) -> None:
        needed = {os.path.realpath(sys.base_prefix), os.path.abspath(sys.prefix), str(REPOSITORY)}
        command = ["unshare", "--mount", sys.executable, "-c", _SETUP, str(HOME), str(UID), *sorted(needed)]
        self._holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._holder.stdout
        if not is_readable(self._holder.stdout.fileno(), 60) or self._holder.stdout.readline() != "ready\n":
            self._holder.kill()
            self._holder.communicate()
            raise AssertionError("there is no namespace for a plain user")

    def __enter__(self) -> PlainUser:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        while others := self._others():  # a daemon whose other half was killed starts another
            for pid in others:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, 9)
        self._holder.communicate()

    def _others(self) -> list[int]:
        """Processes of this namespace besides the one that holds it."""
        namespace = os.readlink(f"/proc/{self._holder.pid}/ns/mnt")
        found = []
        for entry in filter(str.isdecimal, os.listdir("/proc")):
            try:
                if os.readlink(f"/proc/{entry}/ns/mnt") == namespace and int(entry) != self._holder.pid and is_alive(int(entry)):
                    found.append(int(entry))
            except OSError:
                continue
        return found

    def path(self, name: str) -> Path:
        """A file of the user's home, as one outside the namespace reaches it."""
        return Path(f"/proc/{self._holder.pid}/root{HOME}/{name}")

    def run(self, *command: str, code: int | None = 0, as_root: bool = False) -> subprocess.CompletedProcess[str]:
        """Run a command as the user, in their home, or as root in the user's namespace."""
        user = [] if as_root else ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups"]
        enter = ["nsenter", f"--mount=/proc/{self._holder.pid}/ns/mnt"]
        environ = {"HOME": str(HOME), "PATH": os.defpath, "LC_ALL": "C.UTF-8", "CASFS_STORE": str(HOME / "store") if as_root else ""}
        if mark := os.environ.get("CASFS_CI_MARK"):
            environ["CASFS_CI_MARK"] = mark
        done = subprocess.run(
            [*enter, *user, "env", f"--chdir={HOME}", *command], env=environ, capture_output=True, text=True, timeout=240, check=False
        )
        if code is not None and done.returncode != code:
            raise AssertionError(f"{' '.join(command)} ended with {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def casfs(self, *words: str, code: int | None = 0, as_root: bool = False) -> subprocess.CompletedProcess[str]:
        return self.run(sys.executable, "-m", "casfs", *words, code=code, as_root=as_root)
