"""Ways: how casfs can show an environment. A user who asks for nothing gets the first one that the machine allows."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Way:
    """A data path, and who says what there is."""

    name: str
    key: str  # for names of environments and folders
    options: tuple[str, ...]  # of `casfs mount`
    data_path: str  # as `casfs status --json` calls it
    metadata: str  # likewise

    @property
    def is_on_twins(self) -> bool:
        return self.metadata == "twins"


DEFAULT = Way("casfs", "default", (), "", "")
"""Whatever a user gets."""

TWINS = Way("casfs, twins", "twins", (), "kernel", "twins")
KERNEL_ON_FUSE = Way("casfs, FUSE metadata", "metadata", (), "kernel", "fuse")
PLAIN = Way("casfs, plain FUSE", "plain", ("--data-path", "fuse"), "fuse", "fuse")

WAYS = (TWINS, KERNEL_ON_FUSE, PLAIN)

EXPLAINED = (
    "casfs, twins: what root gets, the kernel reads the blobs and asks no daemon; casfs, FUSE metadata: what root gets where there are no"
    " twins (they are hidden while it mounts); casfs, plain FUSE: what other users get"
)
