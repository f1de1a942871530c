from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.bench.load import Times, find_descendants, foreign_cores, is_loaded, parse_busy, read_times
from scripts.bench.machine import find_file_system
from scripts.bench.processes import CommandFailed, run
from scripts.bench.rounds import Pace, Rounds, plan_rounds, take_turns

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


def test_who_is_dear_gives_way_first_and_the_reference_is_there_whenever_others_are():
    plan = plan_rounds(Pace(most=7, least=3), {"casfs": 1.0, "uv": 1.0, "pip": 6.0}, allowed_s=40)
    assert [len(plan[name]) for name in ("casfs", "uv", "pip")] == [7, 7, 4]
    assert plan["casfs"] == plan["uv"] == list(range(7))
    assert plan["pip"] == [0, 2, 4, 6]


def test_who_takes_a_third_of_the_time_for_one_turn_has_that_one_only():
    plan = plan_rounds(Pace(most=7, least=3), {"casfs": 1.0, "uv": 1.0, "pip": 20.0}, allowed_s=40)
    assert {name: len(rounds) for name, rounds in plan.items()} == {"casfs": 7, "uv": 7, "pip": 1}


def test_the_reference_does_not_go_on_alone():
    plan = plan_rounds(Pace(most=7, least=1), {"casfs": 1.0, "pip": 1.0}, allowed_s=0.1)
    assert plan == {"casfs": [0], "pip": [0]}


def test_rounds_that_nobody_takes_part_in_are_not_counted():
    plan = plan_rounds(Pace(most=7, least=3), {"casfs": 10.0, "uv": 10.0}, allowed_s=40)
    assert plan == {"casfs": [0, 1, 2], "uv": [0, 1, 2]}


def test_who_is_alone_has_as_many_rounds_as_the_time_allows():
    assert plan_rounds(Pace(most=7, least=3), {"casfs": 10.0}, allowed_s=50) == {"casfs": [0, 1, 2, 3, 4]}


def test_a_number_of_rounds_that_was_asked_for_is_kept_however_long_it_takes():
    assert plan_rounds(Pace(most=2, least=2), {"casfs": 1.0, "pip": 20.0}, allowed_s=1) == {"casfs": [0, 1], "pip": [0, 1]}


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=6), st.floats(0.1, 500))
def test_every_contender_begins_and_nobody_has_more_rounds_than_the_reference(costs: list[float], allowed_s: float):
    plan = plan_rounds(Pace(most=7, least=3), {str(number): cost for number, cost in enumerate(costs)}, allowed_s)
    for rounds in plan.values():
        assert rounds[0] == 0
        assert set(rounds) <= set(plan["0"])
        assert list(rounds) == sorted(set(rounds))


def test_contenders_that_sit_out_rounds_are_told_with_the_rounds_they_had():
    clock = iter([0.0, 1.0, 1.0, 2.0, 2.0, 22.0])

    def turn(number: int) -> dict[str, float]:
        return {"number": float(number)}

    rounds = take_turns(Pace(3, 1), {"a": turn, "b": turn, "c": turn}, allowed_s=30, now=lambda: next(clock, 100.0))
    assert rounds.values == {"number": {"a": [0, 1, 2], "b": [0, 1, 2], "c": [0]}}
    assert rounds.taken == {"c": [0]}
    assert rounds.figure("add", "number", "x", "s", "").by_round("c") == {0: 0.0}


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
