from __future__ import annotations

from scripts.bench.figures import Figure, Run
from scripts.bench.headlines import build_headlines

READY = Figure(
    "ready",
    "web: interpreter ready",
    "s",
    "",
    {"casfs": [2.0, 2.0], "casfs, daemon runs": [1.0, 1.0], "uv, hard links": [0.5, 0.6], "pip": [9.0]},
    taken={"pip": [0]},
)
WARM = Figure("imports", "science, again", "s", "", {"native": [1.0], "casfs, image": [1.25], "casfs, plain FUSE": [2.0]})
COLD = Figure("imports", "science, cold", "s", "", {"native": [1.0], "casfs, image": [0.75]})
DISK = Figure("disk", "web: bytes of one more environment", "B", "", {"casfs": [1000.0], "pip": [50_000.0]})
READS = Figure("reads", "500 MB, in order, cold", "B/s", "", {"native": [3e9], "casfs, image": [1e9]})


def test_a_sentence_tells_our_value_and_how_many_times_that_others_have():
    [sentence, *_] = build_headlines(Run({}, (READY,)))
    assert "environment of web is ready after 1 s with casfs; uv (hard links) 0.55 times (0.51 to 0.59), pip 9 times as long." in sentence


def test_imports_are_compared_with_native_files():
    [sentence, *_] = build_headlines(Run({}, (WARM, COLD)))
    assert sentence == (
        "Importing science from a mount takes 1.25 times as long as from native files, by plain FUSE 2 times; from cold caches 0.75 times."
    )


def test_the_work_that_says_most_is_told():
    small = Figure("disk", "small: bytes of one more environment", "B", "", {"casfs": [1.0], "pip": [2.0]})
    assert build_headlines(Run({}, (small, DISK))) == ["On disk, one more environment of web takes 1 kB with casfs; pip 50 times as much."]


def test_where_casfs_is_behind_is_told_the_worst_first():
    last = build_headlines(Run({}, (READY, WARM, READS, DISK)))[-1]
    worst, *others = last.partition(": ")[2].split("; ")
    assert worst == "reads, 500 MB, in order, cold: 3 times what it is with native files"
    assert [other.partition(":")[0] for other in others] == ["ready, web", "imports, science, again"]
    assert "disk" not in last


def test_a_difference_within_the_spread_is_no_lag():
    noise = Figure("imports", "web, again", "s", "", {"native": [1.0, 1.0, 1.0], "casfs, image": [0.9, 1.1, 1.2]})
    assert not any("behind" in sentence for sentence in build_headlines(Run({}, (noise,))))


def test_a_run_that_others_disturbed_says_so_first():
    disturbed = Figure("imports", "science, again", "s", "", {"native": [1.0], "casfs, image": [1.25]}, loaded_rounds=(0,))
    assert build_headlines(Run({}, (disturbed, DISK)))[0].startswith("Others used the processor during most of this run")
    assert not any("Others" in sentence for sentence in build_headlines(Run({}, (WARM, DISK))))


def test_a_run_without_figures_says_nothing():
    assert build_headlines(Run({}, ())) == []
