"""casfs with pyfuse3's own event loop, to see what casfs's lean loop is worth. Takes casfs's arguments."""

from __future__ import annotations

import casfs.cli.main
import casfs.daemon.worker


def main() -> None:
    """Run a casfs command without the lean loop."""
    casfs.daemon.worker.use_lean_loop = lambda: None  # type: ignore[attr-defined]  # not for users of the module
    casfs.cli.main.main()


if __name__ == "__main__":
    main()
