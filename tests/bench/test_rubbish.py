from __future__ import annotations

from pathlib import Path

from scripts.bench.rubbish import put_away


def test_what_is_put_away_has_gone_from_its_place_and_takes_hardly_any_space(tmp_path: Path):
    for name in ("one", "two"):
        (tmp_path / name / "deep").mkdir(parents=True)
        (tmp_path / name / "deep/file").write_bytes(b"x" * (1 << 20))
        (tmp_path / name / "deep/file").chmod(0o400)
        (tmp_path / name / "link").symlink_to("nowhere")
        put_away(tmp_path / name, tmp_path / "rubbish")
        assert not (tmp_path / name).exists()
    files = list((tmp_path / "rubbish").rglob("file"))
    assert [file.stat().st_blocks for file in files] == [0, 0]


def test_a_file_that_has_another_name_keeps_its_bytes(tmp_path: Path):
    (tmp_path / "cached").write_bytes(b"bytes")
    (tmp_path / "venv").mkdir()
    (tmp_path / "venv/file").hardlink_to(tmp_path / "cached")
    put_away(tmp_path / "venv", tmp_path / "rubbish")
    assert (tmp_path / "cached").read_bytes() == b"bytes"
