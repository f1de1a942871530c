"""Run by an environment's Python: what becomes of importing each of the modules named as arguments, each in a process of its own."""

import json
import os
import subprocess
import sys

SOURCE = """
import importlib, sys
module = importlib.import_module(sys.argv[1])
print(getattr(module, "__file__", None), getattr(module, "__version__", None), sep="|")
"""


def try_import(name: str) -> list[object]:
    done = subprocess.run([sys.executable, "-c", SOURCE, name], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    last_error = done.stderr.strip().splitlines()[-1:]
    return [done.returncode, done.stdout.strip().splitlines()[-1:], [os.path.normpath(line) for line in last_error]]


json.dump({name: try_import(name) for name in sys.argv[1:]}, sys.stdout, indent=1)
