"""Ways: how casfs can show an environment. A user who asks for nothing gets the first one that the machine allows."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Way:
    """A data path, and what says what there is."""

    name: str
    key: str  # for names of environments and folders
    options: tuple[str, ...]  # of `casfs mount`
    data_path: str  # as `casfs status --json` calls it
    metadata: str  # likewise

    @property
    def env(self) -> dict[str, str]:
        """What a command must be told beside, which users never are."""
        return {"CASFS_TEST_WAY": self.metadata} if self.data_path == "kernel" else {}


DEFAULT = Way("casfs", "default", (), "", "")
"""Whatever a user gets."""

IMAGE = Way("casfs, image", "image", (), "kernel", "image")
KERNEL_ON_FUSE = Way("casfs, FUSE metadata", "metadata", (), "kernel", "fuse")
PLAIN = Way("casfs, plain FUSE", "plain", ("--data-path", "fuse"), "fuse", "fuse")

WAYS = (IMAGE, KERNEL_ON_FUSE, PLAIN)

EXPLAINED = (
    "casfs, image: what root gets, the kernel reads the blobs and asks no daemon; casfs, FUSE metadata: what root gets where there is no"
    " EROFS (it is kept from it); casfs, plain FUSE: what other users get"
)
