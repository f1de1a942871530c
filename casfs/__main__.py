"""`casfs`, and `python -m casfs`: a command is run by a server where one can, else here."""

import os
import sys

from casfs.cli.client import ask_servers


def main() -> None:
    """Run the command that was typed, and exit with its code."""
    if (code := ask_servers(sys.argv[1:])) is not None:
        os._exit(code)  # nothing of ours is to be written, or worth being freed
    from casfs.cli.main import main as run_here

    run_here()


if __name__ == "__main__":
    main()
