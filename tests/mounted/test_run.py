"""`casfs run`: the command has its environment, its terminal and its signals, and nothing is left when it has ended."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from casfs.digest import digest_bytes
from casfs.mounts.environment_overlays import sweep_work
from casfs.store.environments import Environment
from casfs.store.store import open_store
from casfs.store.uppers import make_current, next_upper, require_upper
from tests.mounted.daemons import wait_until
from tests.mounted.harness import PYTHON_DIRECTORY, TIME_LIMIT_S, Casfs, is_alive, wait_for_end

SITE = f"lib/{PYTHON_DIRECTORY}/site-packages"
IMPORT = "import demo; print(demo.VALUE)"


@pytest.fixture
def run(casfs: Casfs) -> Iterator[Casfs]:
    """A store with demo 1, and a directory for mountpoints of its own, which is empty again when the test is over."""
    casfs.add(casfs.wheel("demo", files={"demo.py": b"VALUE = 1\n"}))
    (casfs.directory / "tmp").mkdir()
    casfs.environ["TMPDIR"] = str(casfs.directory / "tmp")
    yield casfs
    wait_until(lambda: not left_behind(casfs))


def left_behind(casfs: Casfs) -> list[str]:
    """Mountpoints, leases and environments that are not there for ever, and processes that work on the store."""
    names = [*os.listdir(casfs.directory / "tmp"), *os.listdir(casfs.store / "run"), *os.listdir(casfs.store / "tmp")]
    return [*names, *(set(os.listdir(casfs.store / "environments")) - {"default"}), *map(str, processes(casfs))]


def processes(casfs: Casfs) -> list[int]:
    """Processes that were started with this store: supervisors, workers, commands."""
    mark = f"CASFS_STORE={casfs.store}".encode()
    found = []
    for entry in filter(str.isdecimal, os.listdir("/proc")):
        try:
            environ = Path(f"/proc/{entry}/environ").read_bytes()
        except OSError:
            continue
        if mark in environ.split(b"\0") and is_alive(int(entry)):
            found.append(int(entry))
    return found


@contextlib.contextmanager
def start(casfs: Casfs, *words: str | Path, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """A run that is not waited for. What it prints first says that the command has begun. A test that fails ends it."""
    options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, **options}
    with subprocess.Popen(casfs.command("run", *words), env=casfs.environ, **options) as running:
        try:
            yield running
        except BaseException:
            running.terminate()  # which reaches the command
            raise


def shell(source: str) -> tuple[str, ...]:
    return ("--", "sh", "-c", source)


def output(casfs: Casfs, *words: str | Path, **options: Any) -> str:
    return casfs.run("run", *words, **options).stdout.strip()


def test_command_has_the_environment_as_activate_gives_it(run: Casfs) -> None:
    source = (
        "import os, sys, demo\n"
        "print(demo.VALUE, sys.prefix == os.environ['VIRTUAL_ENV'], os.environ['VIRTUAL_ENV_PROMPT'], 'PYTHONHOME' in os.environ)"
    )
    assert output(run, "python", "-c", source, environ={"PYTHONHOME": sys.base_prefix}) == "1 True default False"


def test_tool_that_has_an_environment_for_each_project_uses_this_one(run: Casfs, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "mine"\nversion = "1.0"\n')
    (tmp_path / ".pdm-python").write_text("/usr/bin/python3")
    uv = f"{sys.prefix}/bin/uv"
    source = f'export TMPDIR="{tmp_path}"; {uv} sync --offline --inexact 2>&1; '  # it leaves lock files there
    source += f'{uv} run --offline python -c "import sys, demo; print(sys.prefix)"; echo "$VIRTUAL_ENV"'
    *_, prefix, environment = output(run, *shell(source), cwd=tmp_path, environ={"UV_SYSTEM_PYTHON": "1"}).splitlines()
    assert prefix == environment
    assert not (tmp_path / ".venv").exists()


def test_variables_that_lead_tools_elsewhere_do_not_reach_the_command(run: Casfs) -> None:
    elsewhere = {
        "CONDA_DEFAULT_ENV": "base",
        "PDM_IGNORE_ACTIVE_VENV": "1",
        "UV_PROJECT_ENVIRONMENT": "/elsewhere",
        "UV_LINK_MODE": "clone",
    }
    source = (
        'echo "${UV_PROJECT_ENVIRONMENT#$VIRTUAL_ENV}$CONDA_DEFAULT_ENV$PDM_IGNORE_ACTIVE_VENV," $PDM_IGNORE_SAVED_PYTHON $UV_LINK_MODE'
    )
    assert output(run, *shell(source), environ=elsewhere) == ", 1 clone"


def test_command_is_who_called_and_has_what_it_was_given(run: Casfs, tmp_path: Path) -> None:
    with open(tmp_path / "given", "wb") as file:
        source = f'read line; echo "$line"; pwd; umask; echo "$MINE" >/proc/self/fd/{file.fileno()}; ls /proc/self/fd | wc -w'
        options = {"input": "words\n", "cwd": tmp_path, "umask": 0o027, "environ": {"MINE": "mine"}, "pass_fds": (file.fileno(),)}
        given = output(run, *shell(source), **options).split()
    assert given == ["words", str(tmp_path), "0027", "5"]  # the standard streams, the file, and the listing's own
    assert (tmp_path / "given").read_text() == "mine\n"


def test_environment_is_the_kernels_and_belongs_to_who_called(run: Casfs) -> None:
    source = 'stat -f -c %T "$VIRTUAL_ENV"; stat -c "%u %g" "$VIRTUAL_ENV/pyvenv.cfg"'
    assert output(run, *shell(source)).split("\n") == ["overlayfs", f"{os.geteuid()} {os.getegid()}"]


@pytest.mark.parametrize(("source", "code"), [("exit 7", 7), ("kill -TERM $$", -signal.SIGTERM), ("kill -KILL $$", -signal.SIGKILL)])
def test_ends_as_the_command_does(run: Casfs, source: str, code: int) -> None:
    run.run("run", *shell(source), code=code)


def test_what_is_no_command_is_told_as_env_does(run: Casfs, tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("no program")
    assert run.run("run", "no-such-program", code=127).stderr == "casfs: no-such-program: no such file or directory\n"
    assert run.run("run", str(tmp_path / "plain"), code=126).stderr == f"casfs: {tmp_path}/plain: permission denied\n"


def test_a_python_file_that_is_no_program_is_told_with_the_way_to_run_it(run: Casfs, tmp_path: Path) -> None:
    (tmp_path / "x.py").write_text("print('hello')\n")
    way = "; `casfs run python x.py` runs that file\n"
    assert run.run("run", "x.py", cwd=tmp_path, code=127).stderr == f"casfs: x.py: no such file or directory{way}"
    assert run.run("run", "./x.py", cwd=tmp_path, code=126).stderr == f"casfs: ./x.py: permission denied{way.replace('x.py', './x.py')}"
    assert "python" not in run.run("run", "y.py", cwd=tmp_path, code=127).stderr
    assert output(run, "python", "x.py", cwd=tmp_path) == "hello"


@pytest.mark.parametrize("words", [(), ("x.whl",), ("--env", "default", "x.whl", "true"), ("x.whl", "--python", "3", "--", "true")])
def test_wrong_usage_ends_with_2(run: Casfs, words: tuple[str, ...]) -> None:
    assert run.run("run", *words, code=2).stderr.startswith("casfs run: ")


def test_options_of_the_command_are_the_commands(run: Casfs) -> None:
    assert output(run, "echo", "--env", "x", "--", "--help") == "--env x -- --help"


def test_what_the_command_writes_is_gone_with_it(run: Casfs) -> None:
    write = f'echo VALUE = 2 > "$VIRTUAL_ENV/{SITE}/demo.py"; rm "$VIRTUAL_ENV/pyvenv.cfg"; cat "$VIRTUAL_ENV/{SITE}/demo.py"'
    assert output(run, *shell(write)) == "VALUE = 2"
    assert output(run, "python", "-c", IMPORT) == "1"


def test_command_sees_what_tools_wrote_into_the_environment_and_leaves_it_alone(run: Casfs) -> None:
    upper = Path(require_upper(Environment(open_store(run.store), "default")).files) / SITE
    upper.mkdir(parents=True)
    (upper / "demo.py").write_text("VALUE = 'edited'\n")
    (upper / "extra.py").write_text("VALUE = 'extra'\n")
    source = "import demo, extra, os; print(demo.VALUE, extra.VALUE); os.unlink(extra.__file__)"
    assert output(run, "python", "-c", source) == "edited extra"
    assert (upper / "extra.py").exists()


def test_what_tools_wrote_stays_while_a_run_shows_it(run: Casfs) -> None:
    environment = Environment(open_store(run.store), "default")
    upper = Path(require_upper(environment).files)
    (upper / "words.txt").write_text("words")
    with start(run, *shell('echo .; read line; cat "$VIRTUAL_ENV/words.txt"')) as running:
        assert running.stdout
        assert running.stdout.readline() == ".\n"
        with environment.locked():
            make_current(environment, next_upper(environment))
        sweep_work(environment)
        assert running.communicate("\n", TIME_LIMIT_S)[0] == "words"
    sweep_work(environment)
    assert not upper.exists()


def test_changes_of_the_environment_do_not_reach_a_run(run: Casfs) -> None:
    with start(run, "python", "-c", f"print(end='.', flush=True); input(); {IMPORT}") as running:
        assert running.stdout
        assert running.stdout.read(1) == "."
        changed = run.add(run.wheel("demo", "2.0", files={"demo.py": b"VALUE = 2\n"}))
        assert "warning" not in changed.stderr
        assert run.run("umount", "--all").stderr == ""
        assert run.run("daemon", "upgrade").stdout == ""
        assert f"in `casfs run` (process {running.pid}): environment 'default', generation 2" in run.run("status").stdout
        assert running.communicate("\n", TIME_LIMIT_S)[0].strip() == "1"
    assert output(run, "python", "-c", IMPORT) == "2"


def test_wheels_make_an_environment_that_vanishes(run: Casfs) -> None:
    wheel = run.wheel("other", files={"other.py": b"VALUE = 3\n"})
    source = "import importlib.util, other; print(other.VALUE, importlib.util.find_spec('demo'))"
    assert output(run, wheel, "--", "python", "-c", source) == "3 None"
    assert os.listdir(run.store / "environments") == ["default"]
    again = run.run("run", wheel, "python", "-c", "import other, other")
    assert again.stderr == ""


def test_wheel_that_is_refused_runs_nothing(run: Casfs, tmp_path: Path) -> None:
    (tmp_path / "bad-1.0-py3-none-any.whl").write_bytes(b"no wheel")
    refused = run.run("run", tmp_path / "bad-1.0-py3-none-any.whl", "echo", "ran", code=1)
    assert refused.stdout == ""
    assert "bad-1.0-py3-none-any.whl" in refused.stderr


def test_pip_works_in_a_run_and_leaves_no_trace(run: Casfs) -> None:
    wheel = run.wheel("other", files={"other.py": b"VALUE = 3\n"})
    source = f"python -m ensurepip >/dev/null && python -m pip -q install --no-index {wheel} && python -m pip -q uninstall -y demo && "
    assert output(run, *shell(f"{source} python -c 'import other; print(other.VALUE)'"), environ={"PIP_ROOT_USER_ACTION": "ignore"}) == "3"
    assert output(run, "python", "-c", IMPORT) == "1"


def test_two_runs_side_by_side_know_nothing_of_each_other(run: Casfs) -> None:
    source = 'echo "VALUE = $0" > "$VIRTUAL_ENV/mine.py"; read line; cat "$VIRTUAL_ENV/mine.py"'
    with start(run, *shell(source), "one") as one, start(run, *shell(source), "two") as two:
        assert two.communicate("\n", TIME_LIMIT_S)[0] == "VALUE = two\n"
        assert one.communicate("\n", TIME_LIMIT_S)[0] == "VALUE = one\n"


def test_nothing_is_left_after_twenty_runs(run: Casfs) -> None:
    mounts = Path("/proc/self/mountinfo").read_text().count(str(run.directory))
    for _ in range(20):
        run.run("run", "true")
        assert left_behind(run) == []
    assert Path("/proc/self/mountinfo").read_text().count(str(run.directory)) == mounts


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2])
def test_signals_sent_to_the_run_reach_the_command(run: Casfs, number: signal.Signals) -> None:
    source = "import signal; print(end='.', flush=True); print(signal.sigwait(numbers).name)"
    block = f"import signal; numbers = {{{int(number)}}}; signal.pthread_sigmask(signal.SIG_BLOCK, numbers); {source}"
    with start(run, "python", "-c", block) as running:
        assert running.stdout
        assert running.stdout.read(1) == "."
        running.send_signal(number)
        assert running.communicate(timeout=TIME_LIMIT_S)[0].strip() == number.name
        assert running.returncode == 0


def test_interrupted_command_ends_the_run_in_the_same_way(run: Casfs) -> None:
    with start(run, *shell("echo .; exec sleep 1000")) as running:
        assert running.stdout
        assert running.stdout.readline() == ".\n"
        running.send_signal(signal.SIGINT)
        assert running.wait(TIME_LIMIT_S) == -signal.SIGINT


def test_killed_run_lets_the_command_go_on_and_nothing_stays_after_it(run: Casfs) -> None:
    with start(run, "python", "-c", f"print(end='.', flush=True); input(); {IMPORT}") as running:
        assert running.stdout
        assert running.stdout.read(1) == "."
        running.kill()
        assert running.wait(TIME_LIMIT_S) == -signal.SIGKILL
        assert left_behind(run) != []
        assert running.communicate("\n", TIME_LIMIT_S)[0].strip() == "1"
    wait_until(lambda: not left_behind(run))


def test_killed_keeper_takes_nothing_from_the_command(run: Casfs) -> None:
    with start(run, "python", "-c", f"print(end='.', flush=True); input(); {IMPORT}") as running:
        assert running.stdout
        assert running.stdout.read(1) == "."
        [keeper] = [pid for pid in processes(run) if pid != running.pid and b"casfs" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        os.kill(keeper, signal.SIGKILL)
        assert run.run("list").stderr == ""
        assert running.communicate("\n", TIME_LIMIT_S)[0].strip() == "1"


LIST = r"""cd "$VIRTUAL_ENV"; cat lib/python3*/site-packages/demo.py
find . -mindepth 1 ! -type d -printf '%P %M %U %s %T@ %l\n' -o -printf '%P %M %U %T@\n' | sort"""


def test_environment_is_the_same_where_a_daemon_answers(run: Casfs) -> None:
    without = output(run, *shell(LIST))
    assert "demo.py" in without
    assert output(run, *shell(LIST), environ={"CASFS_TEST_WAY": "fuse"}) == without


def test_file_whose_bytes_are_lost_is_an_error_and_no_other_is(run: Casfs) -> None:
    wheel = run.wheel("other", files={"other.py": b"VALUE = 3\n", "lost.py": b"VALUE = 'lost'\n"})
    run.add(wheel)
    blob = run.blob(digest_bytes(b"VALUE = 'lost'\n"))
    blob.chmod(0o644)
    blob.write_text("damaged")
    run.run("fsck", "--repair", code=3)
    source = f'cat "$VIRTUAL_ENV/{SITE}/lost.py" 2>&1 | grep -o "Input/output error"; cat "$VIRTUAL_ENV/{SITE}/other.py"'
    assert output(run, *shell(source)).splitlines() == ["Input/output error", "VALUE = 3"]
    run.add(wheel)


def test_killed_worker_is_replaced(run: Casfs) -> None:
    run.force_way("fuse")
    source = f"print(end='.', flush=True); input(); {IMPORT}"
    with start(run, "python", "-c", source) as running:
        assert running.stdout
        assert running.stdout.read(1) == "."
        worker = max(pid for pid in processes(run) if b"casfs" in Path(f"/proc/{pid}/cmdline").read_bytes())
        os.kill(worker, signal.SIGKILL)
        assert running.communicate("\n", TIME_LIMIT_S)[0].strip() == "1"


def test_killed_supervisor_is_replaced(run: Casfs) -> None:
    run.force_way("fuse")
    source = f"print(end='.', flush=True); input(); {IMPORT}"
    with start(run, "python", "-c", source) as running:
        assert running.stdout
        assert running.stdout.read(1) == "."
        _, supervisor, _ = sorted(pid for pid in processes(run) if b"casfs" in Path(f"/proc/{pid}/cmdline").read_bytes())
        os.kill(supervisor, signal.SIGKILL)
        wait_until(lambda: any(b"adopt" in Path(f"/proc/{pid}/cmdline").read_bytes() for pid in processes(run)))
        assert running.communicate("\n", TIME_LIMIT_S)[0].strip() == "1"


def test_next_command_clears_away_what_died_with_all_its_processes(run: Casfs) -> None:
    with start(run, run.wheel("other"), *shell("echo .; read line")) as running:
        assert running.stdout
        assert running.stdout.readline() == ".\n"
        doomed = processes(run)
        for pid in doomed:
            os.kill(pid, signal.SIGSTOP)
        for pid in doomed:
            os.kill(pid, signal.SIGKILL)
        for pid in doomed:
            wait_for_end(pid) if pid != running.pid else running.wait(TIME_LIMIT_S)
    assert left_behind(run) != []
    assert run.run("list").stderr == ""
    assert left_behind(run) == []


def test_what_the_command_leaves_running_keeps_the_environment(run: Casfs) -> None:
    answer, theirs = os.pipe()
    their_input, ours = os.pipe()
    later = f'(read line; "$VIRTUAL_ENV/bin/python" -c "{IMPORT}") </proc/self/fd/{their_input} >/proc/self/fd/{theirs} 2>&1 &'
    done = run.run("run", *shell(f"{later} echo ended"), pass_fds=(theirs, their_input))
    os.close(theirs)
    os.close(their_input)
    assert done.stdout == "ended\n"
    assert left_behind(run) != []
    os.write(ours, b"\n")
    os.close(ours)
    with open(answer, encoding="utf-8") as file:
        assert file.read() == "1\n"


def run_altered(casfs: Casfs, alteration: str, *words: str) -> subprocess.CompletedProcess[str]:
    """A run in which something of casfs does what no machine here can be made to do."""
    command = [sys.executable, "-c", f"import sys\n{alteration}\nfrom casfs.cli.main import main\nmain(sys.argv[1:])", "run", *words]
    return subprocess.run(command, env=casfs.environ, capture_output=True, text=True, timeout=TIME_LIMIT_S, check=False)


def test_without_an_overlay_the_environment_is_read_only_and_says_so(run: Casfs) -> None:
    alteration = (
        "import casfs.mounts.run_mounts as private, errno\n"
        "def refuse(layers): raise OSError(errno.EINVAL, 'Invalid argument', 'overlay: a reason')\n"
        "private.make_overlay = refuse"
    )
    done = run_altered(run, alteration, *shell(f"python -c '{IMPORT}'; touch $VIRTUAL_ENV/x"))
    assert (done.stdout, done.returncode) == ("1\n", 1)
    first, second = done.stderr.splitlines()
    assert first.startswith("casfs: warning: the environment is read-only")
    assert first.endswith("overlay: a reason: invalid argument")
    assert "Read-only file system" in second


WHEN_IT_HAS_CLEARED_AWAY = (
    "import os, casfs.mounts.run_mounts as private\n"
    "mount = private.mount_session\n"
    "def mount_late(path, **more):\n"
    "    while os.path.isdir(path): pass\n"
    "    return mount(path, **more)\n"
    "private.mount_session = mount_late\n"
)


@pytest.mark.parametrize("way", ["image", "fuse"])
@pytest.mark.parametrize("late", ["", WHEN_IT_HAS_CLEARED_AWAY], ids=["whenever", "when it has cleared away"])
def test_keeper_that_fails_is_told_in_one_line_and_runs_nothing(run: Casfs, late: str, way: str) -> None:
    run.force_way(way)
    alteration = "import casfs.mounts.keeper as keeper\ndef fail(*_): raise RuntimeError('a bug')\nkeeper._keep = fail"
    done = run_altered(run, f"{late}{alteration}", "echo", "ran")
    assert (done.stdout, done.returncode) == ("", 1)
    assert len(done.stderr.splitlines()) == 1
    assert "nobody serves it" in done.stderr
    assert "a bug" in run.run("daemon", "logs").stdout
    (run.store / "run/dead.log").unlink()


def test_run_in_a_run(run: Casfs) -> None:
    inner = f"{sys.executable} -m casfs run -- sh -c 'echo $VIRTUAL_ENV; python -c \"{IMPORT}\"'"
    outer, inside, value = output(run, *shell(f"echo $VIRTUAL_ENV; {inner}")).splitlines()
    assert outer != inside
    assert value == "1"


def test_interpreter_is_the_one_that_was_asked_for(run: Casfs) -> None:
    assert "/nowhere/python" in run.run("run", "--python", "/nowhere/python", run.wheel("other"), "python", "-V", code=1).stderr
    version = ".".join(map(str, sys.version_info[:3]))
    assert output(run, "--python", sys.executable, run.wheel("other"), "python", "-V") == f"Python {version}"
