"""metrics: an exposition that a parser of its format reads, and that says what status says."""

from __future__ import annotations

import json
import os
import re

from casfs import __version__
from casfs.cli.commands.metrics import format_metrics
from casfs.daemon.control import Reply
from casfs.store.leases import Lease
from tests.mounted.harness import Casfs

NAME = "[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"'
SAMPLE = re.compile(rf"({NAME})(?:\{{((?:{LABEL},?)*)\}})? (\S+)")
ESCAPES = {r"\\": "\\", r"\"": '"', r"\n": "\n"}

Exposition = dict[tuple[str, frozenset[tuple[str, str]]], float]


def parse_exposition(text: str) -> Exposition:
    """(name, labels) -> value. What the format forbids is an AssertionError: see Prometheus's "Exposition formats"."""
    found: Exposition = {}
    helped: list[str] = []
    typed: list[str] = []
    assert text == "" or text.endswith("\n")
    for line in text.splitlines():
        if line.startswith("# HELP "):
            helped.append(line.split(" ", 3)[2])
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert kind in ("counter", "gauge")
            assert name.endswith("_total") == (kind == "counter")
            typed.append(name)
        else:
            match = SAMPLE.fullmatch(line)
            assert match, line
            assert match[1] == typed[-1] == helped[-1]
            labels = [(name, re.sub(r"\\.", lambda one: ESCAPES[one[0]], value)) for name, value in re.findall(LABEL, match[2] or "")]
            assert len(dict(labels)) == len(labels)
            key = match[1], frozenset(labels)
            assert key not in found
            found[key] = float(match[5])
    assert typed == helped
    assert len(set(typed)) == len(typed)
    return found


def value(found: Exposition, name: str, **labels: str) -> float:
    return found[name, frozenset(labels.items())]


HOST = Lease("0123456789ab", 1, "", "/run/casfs/x", "")
SINGLE = Lease("ba9876543210", 2, "one", "/mnt", "")
REPLY = Reply(generations={"one": 3}, requests={"read": 10**12, "open": 2}, latency={"read": [12.5, 2_000_000.0]}, casfs_version="1")


def test_every_number_is_told_with_its_daemon_and_kind():
    text = "".join(f"{line}\n" for line in format_metrics([(HOST, REPLY), (SINGLE, REPLY)]))
    found = parse_exposition(text)
    of_host = {"lease": HOST.id, "environment": ""}
    of_single = {"lease": SINGLE.id, "environment": "one"}
    for labels in (of_host, of_single):
        assert value(found, "casfs_requests_total", **labels, kind="read") == 10**12
        assert value(found, "casfs_request_seconds", **labels, kind="read", quantile="0.5") == 12.5e-6
        assert value(found, "casfs_request_seconds", **labels, kind="read", quantile="0.99") == 2
        assert value(found, "casfs_up", **labels) == 1
    assert value(found, "casfs_generation", lease=HOST.id, environment="one") == 3


def test_of_a_daemon_that_does_not_answer_only_that_is_told():
    found = parse_exposition("".join(f"{line}\n" for line in format_metrics([(SINGLE, None)])))
    assert found == {("casfs_up", frozenset({("lease", SINGLE.id), ("environment", "one")})): 0}


def test_any_text_fits_a_label():
    version = 'a"b\\n\nc'
    found = parse_exposition("".join(f"{line}\n" for line in format_metrics([(SINGLE, Reply(casfs_version=version))])))
    assert value(found, "casfs_info", lease=SINGLE.id, environment="one", version=version) == 1


def test_metrics_say_what_status_says(casfs: Casfs) -> None:
    os.listdir(casfs.mount())
    found = parse_exposition(casfs.run("metrics").stdout)
    [daemon] = json.loads(casfs.run("status", "--json").stdout)["daemons"]
    labels = {"lease": daemon["id"], "environment": daemon["environment"] or ""}
    assert value(found, "casfs_info", **labels, version=__version__) == 1
    assert value(found, "casfs_generation", lease=daemon["id"], environment="default") == casfs.generation()
    assert 0 < value(found, "casfs_requests_total", **labels, kind="readdir") <= daemon["requests"]["readdir"]
    assert value(found, "casfs_resident_bytes", **labels, process="worker") > 1 << 20


def test_metrics_of_a_store_without_daemons_are_valid(casfs: Casfs) -> None:
    names = {name for name, _ in parse_exposition(casfs.run("metrics").stdout)}
    assert names == {"casfs_scrub_read_bytes_total", "casfs_scrub_damaged_blobs"}
