"""collect: the store without what nothing needs."""

from __future__ import annotations

import argparse

from casfs.cli.context import store_directory
from casfs.cli.options import add_json, parse_positive
from casfs.cli.output import format_count, format_size, note, say, say_json
from casfs.cli.parser import Commands
from casfs.mounts.removal import holding_seen, remove_old_layers
from casfs.store.gc.gc import Collected, CollectOptions, collect
from casfs.store.shared import use_shared_pools
from casfs.store.store import open_store


def add_command(commands: Commands) -> None:
    """casfs collect"""
    collect = commands.add("collect", run_collect, "casfs collect --unused-wheels --keep 3")
    text = "also wheels that no environment has; until then adding them again costs nothing, and other stores may rely on them"
    collect.add_argument("--unused-wheels", action="store_true", help=text)
    text = "first drop older generations of each environment that is not mounted, all but the newest N (default: drop none)"
    collect.add_argument("--keep", type=parse_positive, metavar="N", help=text)
    collect.add_argument("--dry-run", action="store_true", help="remove nothing, say what would be removed")
    add_json(collect)


def run_collect(arguments: argparse.Namespace) -> None:
    """casfs collect"""
    store = open_store(store_directory(arguments))
    use_shared_pools(store)
    wish = CollectOptions(arguments.unused_wheels, arguments.keep, arguments.dry_run)
    collected = collect(store, wish, lambda: holding_seen(store))
    collected.size += remove_old_layers(store, is_dry=wish.is_dry)
    for name in collected.kept:
        note(f"environment {name!r} is mounted, or may still be seen, so it keeps all its generations")
    if arguments.json:
        say_json(_json(collected, is_dry=wish.is_dry))
    else:
        say(_describe(collected, is_dry=wish.is_dry))
    if collected.spare_wheels:
        spare = format_count(collected.spare_wheels, "wheel")
        note(f"kept for the next `casfs add`: {spare} that no environment uses; `casfs collect --unused-wheels` removes them")


def _describe(collected: Collected, *, is_dry: bool) -> str:
    counts = {
        "generation": collected.generations,
        "wheel": collected.wheels,
        "manifest": collected.manifests,
        "blob": collected.blobs,
        "unfinished download": collected.downloads,
    }
    what = ", ".join(format_count(count, thing) for thing, count in counts.items() if count)
    verb = "would free" if is_dry else "freed"
    if what or collected.size:
        return f"{verb} {format_size(collected.size)}: {what or 'files of an older casfs'}"
    return "nothing to collect"


def _json(collected: Collected, *, is_dry: bool) -> dict[str, object]:
    return {
        "is_dry_run": is_dry,
        "bytes": collected.size,
        "generation_count": collected.generations,
        "wheel_count": collected.wheels,
        "manifest_count": collected.manifests,
        "blob_count": collected.blobs,
        "download_count": collected.downloads,
        "spare_wheel_count": collected.spare_wheels,
        "kept_environments": collected.kept,
    }
