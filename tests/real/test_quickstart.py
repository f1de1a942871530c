"""The quickstart of TensorFlow 2, from a mount made of a lock: the same figures as from the environment that uv makes of that lock."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mounted.harness import Casfs, clean_environ

pytestmark = [pytest.mark.network, pytest.mark.long]

_TIME_LIMIT_S = 1200

QUICKSTART = """
import os
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import numpy as np
import tensorflow as tf
tf.keras.utils.set_random_seed(7)
rng = np.random.default_rng(7)
x, y = rng.random((512, 28, 28), dtype=np.float32), rng.integers(0, 10, 512)
layers = tf.keras.layers
model = tf.keras.models.Sequential(
    [layers.Input((28, 28)), layers.Flatten(), layers.Dense(128, activation="relu"), layers.Dropout(0.2), layers.Dense(10)])
model.compile(optimizer="adam", loss=tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
history = model.fit(x, y, epochs=3, verbose=0)
print([round(loss, 3) for loss in history.history["loss"]])
print(tf.__version__, [round(float(value), 3) for value in model.evaluate(x, y, verbose=0)])
"""


@pytest.fixture
def casfs(tmp_path: Path) -> Iterator[Casfs]:
    """The gigabytes go with the test."""
    with Casfs(tmp_path) as one:
        yield one
    shutil.rmtree(tmp_path)


def run(*command: str | Path) -> str:
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False, timeout=_TIME_LIMIT_S, env=clean_environ())
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_the_quickstart_of_tensorflow_counts_as_in_a_native_environment(casfs: Casfs, tmp_path: Path) -> None:
    uv = Path(sys.executable).with_name("uv")
    lock, native, wanted = tmp_path / "pylock.toml", tmp_path / "native", tmp_path / "wanted.in"
    wanted.write_text("tensorflow-cpu\n")
    run(uv, "pip", "compile", "--quiet", "--python", sys.executable, "--format", "pylock.toml", "--output-file", lock, wanted)
    casfs.run("sync", lock, timeout=_TIME_LIMIT_S)
    mount = casfs.mount(data_path="")
    run(uv, "venv", "--quiet", "--python", sys.executable, native)
    run(uv, "pip", "sync", "--quiet", "--preview", "--python", native / "bin" / "python", lock)
    shown = run(mount / "bin" / "python", "-c", QUICKSTART)
    assert len(shown.splitlines()) == 2
    assert shown == run(native / "bin" / "python", "-c", QUICKSTART)
