"""What all tests share: how hypothesis behaves."""

from __future__ import annotations

from hypothesis import settings

# No deadline: a machine that is busy with other work is no bug of ours.
settings.register_profile("casfs", deadline=None, print_blob=True)
settings.load_profile("casfs")
