"""Run by an environment's Python: what importlib.metadata says of every distribution."""

import json
import os
import sys
from importlib.metadata import Distribution, distributions, packages_distributions


def describe(distribution: Distribution) -> dict[str, object]:
    files = distribution.files or []
    return {
        "version": distribution.version,
        "requires": distribution.requires,
        "metadata": [[name, distribution.metadata.get_all(name)] for name in sorted(set(distribution.metadata))],
        "entry points": sorted(f"{one.group}: {one.name} = {one.value}" for one in distribution.entry_points),
        "files": [str(file) for file in files],
        "absent files": [str(file) for file in files if not os.path.isfile(file.locate())],
        "digests": {str(file): file.hash.value for file in files if file.hash and is_the_same_everywhere(str(file))},
        "direct_url.json": distribution.read_text("direct_url.json"),
    }


def is_the_same_everywhere(file: str) -> bool:
    return not file.startswith("../../../bin/") and not file.endswith(("/INSTALLER", "/RECORD.jws"))


found = {one.metadata["Name"]: describe(one) for one in distributions()}
packages = {name: sorted(owners) for name, owners in packages_distributions().items()}
json.dump({"distributions": found, "packages": packages}, sys.stdout, indent=1, sort_keys=True)
