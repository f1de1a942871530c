"""Records of overlays: a command finds those of the version before, and that version those of this one. Nothing here is mounted."""

from __future__ import annotations

import json
from pathlib import Path

from casfs.mounts.environment_overlays import Overlay, _remember, iter_remembered_overlays
from casfs.store.store import open_store

OVERLAY = Overlay("0123", "default", 0, 0, 3, 1, "image", "", "", "/run/casfs/0123", older=(("4567", "/run/casfs/4567"),))


def test_a_record_is_read_as_it_was_written_and_as_the_version_before_writes_it(tmp_path: Path):
    store = open_store(tmp_path / "store", create=True)
    _remember(store, OVERLAY)
    assert list(iter_remembered_overlays(store)) == [OVERLAY]
    record = Path(store.run_path("overlay-default"))
    said = json.loads(record.read_bytes())
    assert said["anchor"] == OVERLAY.hidden_mount
    assert "hidden_mount" not in said
