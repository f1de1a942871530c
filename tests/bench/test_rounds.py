from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from scripts.bench.load import Times, find_descendants, foreign_cores, is_loaded, parse_busy, read_times
from scripts.bench.machine import find_file_system
from scripts.bench.processes import CommandFailed, run
from scripts.bench.rounds import Pace, Rounds, take_turns

TICKS = os.sysconf("SC_CLK_TCK")


def test_contenders_take_turns():
    order = []

    def turn(name: str):
        def take(number: int) -> dict[str, float]:
            order.append(f"{name}{number}")
            return {"seconds": float(number)}

        return take

    rounds = take_turns(Pace(3, 3), {"a": turn("a"), "b": turn("b")})
    assert order == ["a0", "b0", "b1", "a1", "a2", "b2"]
    assert rounds.values == {"seconds": {"a": [0, 1, 2], "b": [0, 1, 2]}}
    assert rounds.figure("add", "seconds", "x", "s", "").reference == "a"


def take_numbers(pace: Pace, allowed_s: float) -> list[float]:
    return take_turns(pace, {"a": lambda number: {"number": float(number)}}, allowed_s).values["number"]["a"]


def test_where_the_time_does_not_suffice_there_are_fewer_rounds_but_not_too_few():
    assert take_numbers(Pace(most=7, least=3), allowed_s=1e-9) == [0, 1, 2]


def test_where_the_time_suffices_there_are_all_rounds():
    assert take_numbers(Pace(most=5, least=1), allowed_s=1000) == [0, 1, 2, 3, 4]
    assert take_numbers(Pace(most=5, least=2, share=1e-12), allowed_s=1000) == [0, 1]


def test_foreign_load_marks_times_and_speeds_but_no_sizes():
    rounds = Rounds({"x": {"casfs": [1.0]}}, loaded=(0,))
    assert [rounds.figure("add", "x", "x", unit, "").loaded_rounds for unit in ("s", "B/s", "B", "inodes")] == [(0,), (0,), (), ()]


def test_time_that_others_used_is_what_is_busy_and_not_ours():
    before, after = Times(now=0, busy=100, own=50), Times(now=10, busy=119, own=55)
    assert foreign_cores(before, after) == pytest.approx(1.4)
    assert is_loaded(before, after)


def test_our_own_load_is_no_foreign_load():
    assert not is_loaded(Times(0, 100, 50), Times(10, 120, 70))


def test_counters_that_run_ahead_of_each_other_give_no_load():
    assert foreign_cores(Times(0, 100, 50), Times(1, 100.5, 51)) == 0


def test_a_round_that_is_shorter_than_the_ticks_allow_is_not_judged():
    assert not is_loaded(Times(0, 100, 50), Times(0.1, 101, 50))


def test_idle_time_waiting_and_interrupts_are_not_busy():
    user, nice, system, idle, iowait, irq, softirq, steal = 1, 2, 4, 8, 16, 32, 64, 128
    text = f"cpu  {user} {nice} {system} {idle} {iowait} {irq} {softirq} {steal} 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n"
    assert parse_busy(text) == pytest.approx((user + nice + system + steal) / TICKS)


def test_descendants_are_found_at_any_depth_and_others_are_not():
    assert find_descendants({2: 1, 3: 2, 4: 3, 5: 1, 6: 5, 7: 4}, 2) == [3, 4, 7]


def test_the_counters_of_this_machine_can_be_read():
    before = read_times()
    assert before.busy > 0
    assert read_times().now >= before.now


def test_the_file_system_of_a_folder_is_that_of_the_deepest_mount():
    mountinfo = "1 0 8:1 / / rw - ext4 /dev/a rw\n2 1 0:5 / /tmp rw - tmpfs tmpfs rw\n3 1 0:6 / /tmp/deep rw - xfs /dev/b rw\n"
    assert find_file_system(mountinfo, Path("/tmp/folder")) == "tmpfs"
    assert find_file_system(mountinfo, Path("/home")) == "ext4"
    assert find_file_system(mountinfo, Path("/tmpfolder")) == "ext4"


def test_a_command_gets_the_environment_that_was_chosen_and_nothing_else():
    usage = run([sys.executable, "-I", "-c", "import os; print(sorted(os.environ))"], {"CHOSEN": "1", "LC_ALL": "C.UTF-8"})
    assert usage.output.strip() == "['CHOSEN', 'LC_ALL']"


def test_the_peak_memory_of_a_command_is_seen():
    size = 300_000_000
    usage = run([sys.executable, "-I", "-c", f"b'x' * {size}"], {})
    assert size < usage.peak < 2 * size
    assert usage.seconds > 0


def test_the_peak_memory_of_a_command_is_not_that_of_who_asks():
    large = b"x" * 300_000_000
    usage = run(["true"], {"PATH": os.defpath})
    assert len(large) > 5 * usage.peak


def test_a_command_that_is_not_there_is_named():
    with pytest.raises(CommandFailed, match=r"(?s)`/nowhere/command` ended with 127: .*No such file or directory: '/nowhere/command'"):
        run(["/nowhere/command"], {})


def test_a_process_that_a_command_leaves_behind_is_not_waited_for():
    usage = run(["sh", "-c", "sleep 100 >/dev/null 2>&1 & echo $!"], {"PATH": os.defpath})
    os.kill(int(usage.output), signal.SIGKILL)


def test_a_command_that_fails_says_what_it_said():
    with pytest.raises(CommandFailed, match=r"ended with 1: .*no such thing"):
        run([sys.executable, "-I", "-c", "raise SystemExit('no such thing')"], {})
