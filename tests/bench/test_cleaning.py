from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from scripts.bench.tools import REPOSITORY

INTERRUPTED_MEASURE = """
import sys
from pathlib import Path

from scripts.bench.__main__ import working_folder
from scripts.bench.bench import Bench
from scripts.bench.processes import adopting_orphans
from scripts.bench.rounds import Pace
from scripts.bench.tools import Tools

tools = Tools(str(Path(sys.executable).with_name("casfs")), sys.executable, sys._base_executable, "", "")
with adopting_orphans(), working_folder(Path(sys.argv[1])) as folder:
    store = Bench(folder, folder, tools, pace=Pace(1, 1), is_quick=True, is_large=False).new_store(folder / "store")
    with store.mounted("bench-primer", folder / "mount") as mounted:
        print(mounted.daemon, len(list(mounted.path.iterdir())), flush=True)
        raise RuntimeError("in the middle")
"""


def test_a_measure_that_fails_leaves_no_mount_no_process_and_no_file(tmp_path: Path):
    command = [sys.executable, "-c", INTERRUPTED_MEASURE, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=REPOSITORY)
    assert done.stderr.endswith("RuntimeError: in the middle\n")
    daemon, entries = map(int, done.stdout.split())
    assert entries > 0
    assert not os.path.exists(f"/proc/{daemon}")
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()
    assert list(tmp_path.iterdir()) == []


TOLD_TWICE = """
import os, signal
from scripts.bench.__main__ import end_in_order

end_in_order()
try:
    os.kill(os.getpid(), signal.SIGTERM)
finally:
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGINT)
    print("cleaned up")
"""


def test_who_is_told_to_end_once_more_cleans_up_to_the_end():
    done = subprocess.run([sys.executable, "-c", TOLD_TWICE], capture_output=True, text=True, check=False, cwd=REPOSITORY)
    assert (done.returncode, done.stdout, done.stderr) == (143, "cleaned up\n", "")
