"""What people do in their environments: a Django site is made, migrated, tested and served; a Jupyter kernel runs a cell."""

from __future__ import annotations

import http.client
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mounted.harness import Casfs, clean_environ, site_packages

pytestmark = [pytest.mark.network, pytest.mark.parametrize("data_path", ["", "fuse"], ids=["default", "fuse"])]

_TIME_LIMIT_S = 240

MODEL = """
from django.db import models

class Note(models.Model):
    text = models.CharField(max_length=80)
"""

TESTS = """
from django.test import TestCase
from notes.models import Note

class Notes(TestCase):
    def test_a_note_is_kept(self):
        Note.objects.create(text="kept")
        self.assertEqual([note.text for note in Note.objects.all()], ["kept"])

    def test_the_admin_asks_for_a_login(self):
        self.assertRedirects(self.client.get("/admin/"), "/admin/login/?next=/admin/")
"""

SERVE = """
import os, sys
from wsgiref.simple_server import WSGIRequestHandler, make_server
os.environ["DJANGO_SETTINGS_MODULE"] = "site_of_notes.settings"
from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.core.wsgi import get_wsgi_application
server = make_server("127.0.0.1", 0, StaticFilesHandler(get_wsgi_application()))
print(server.server_port, flush=True)
server.handle_request()
"""

CELL = """
import sys, pathlib, jupyter_client
from jupyter_client.manager import start_new_kernel
manager, client = start_new_kernel(kernel_name="python3")
said = []
reply = client.execute_interactive(
    "import sys, inspect, json; print(sys.prefix); print(inspect.getsourcefile(json))",
    output_hook=lambda message: said.append(message["content"].get("text", "")), timeout=240)
client.stop_channels()
manager.shutdown_kernel()
print(reply["content"]["status"], pathlib.Path(manager.kernel_spec.resource_dir), "".join(said).splitlines()[0], sep="\\n")
"""


@pytest.fixture(scope="module")
def casfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Casfs]:
    """Environments for a site and for notebooks, which each test mounts at a place of its own."""
    with Casfs(tmp_path_factory.mktemp("applications")) as one:
        one.run("--env", "site", "add", "django", timeout=_TIME_LIMIT_S)
        one.run("--env", "notebooks", "add", "ipykernel", timeout=_TIME_LIMIT_S)
        yield one


def run(cwd: Path, *command: str | Path) -> subprocess.CompletedProcess[str]:
    """A command that must end well; what it writes of its own stays below `cwd`."""
    environ = clean_environ(HOME=str(cwd), JUPYTER_PLATFORM_DIRS="1", PYTHONDONTWRITEBYTECODE="1")
    done = subprocess.run([*map(str, command)], cwd=cwd, env=environ, capture_output=True, text=True, check=False, timeout=_TIME_LIMIT_S)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def make_site(folder: Path, mount: Path) -> None:
    """A Django project with one application, one model and its table."""
    run(folder, mount / "bin" / "django-admin", "startproject", "site_of_notes", ".")
    run(folder, mount / "bin" / "python", "manage.py", "startapp", "notes")
    (folder / "notes" / "models.py").write_text(MODEL)
    (folder / "notes" / "tests.py").write_text(TESTS)
    settings = folder / "site_of_notes" / "settings.py"
    settings.write_text(settings.read_text() + '\nINSTALLED_APPS.append("notes")\n')
    run(folder, mount / "bin" / "python", "manage.py", "makemigrations", "notes")
    run(folder, mount / "bin" / "python", "manage.py", "migrate")


def test_a_django_site_is_made_migrated_tested_and_served(casfs: Casfs, tmp_path: Path, data_path: str) -> None:
    mount, folder = casfs.mount("--env", "site", data_path=data_path), tmp_path / "site"
    folder.mkdir()
    make_site(folder, mount)
    assert "Ran 2 tests" in run(folder, mount / "bin" / "python", "manage.py", "test").stderr
    command = [str(mount / "bin" / "python"), "-c", SERVE]
    with subprocess.Popen(command, cwd=folder, env=clean_environ(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        assert server.stdout
        connection = http.client.HTTPConnection("127.0.0.1", int(server.stdout.readline()), timeout=240)
        connection.request("GET", "/static/admin/css/base.css")
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (
            200,
            (site_packages(mount) / "django/contrib/admin/static/admin/css/base.css").read_bytes(),
        )


def test_a_jupyter_kernel_starts_and_runs_a_cell(casfs: Casfs, tmp_path: Path, data_path: str) -> None:
    mount, folder = casfs.mount("--env", "notebooks", data_path=data_path), tmp_path / "notebook"
    folder.mkdir()
    status, resources, prefix = run(folder, mount / "bin" / "python", "-c", CELL).stdout.splitlines()
    assert (status, prefix) == ("ok", str(mount))
    assert json.loads((Path(resources) / "kernel.json").read_text())["display_name"].startswith("Python 3")
    assert Path(resources) == mount / "share" / "jupyter" / "kernels" / "python3"
