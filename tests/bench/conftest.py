from __future__ import annotations

import os

collect_ignore = [] if os.geteuid() == 0 else ["test_ways.py"]  # others have one way only
