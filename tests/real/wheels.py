"""The wheels that these tests install, each with what is odd about it. They are pinned, so that a test fails for a reason of ours."""

from __future__ import annotations

TOOLS = ("pip==26.3", "uv==0.13.9")
"""The installers that casfs is compared with."""

QUIRKS = {
    "argcomplete==1.12.3": "scripts called activate-global-python-argcomplete and python-argcomplete-...",
    "argparse==1.4.0": "metadata.json, CRLF, a module that the standard library has too",
    "attrs==26.1.0": "two packages, neither with the project's name",
    "awscli==1.29.0": "scripts for Python, cmd, bash and zsh; 5,432 members",
    "biopython==1.88": "directory entries, CRLF, code that looks for its own __file__",
    "certifi==2026.10.18": "importlib.resources.as_file, which wants a real path",
    "click==8.5.1": "plain",
    "cmeel==0.61.0": "a .pth file that adds a directory",
    "cmeel_zlib==1.3.2": "a build tag, lib64 inside site-packages, three files with the same bytes",
    "coverage==7.16.2": "a .pth file that runs code, a command of Python's version",
    "Cython==0.29.37": "capitals in the name, one module and packages",
    "distlib==0.4.4": "Windows programs with mode 0600",
    "Django==5.2.19": "3,670 members, templates whose names look like code, code that looks for its own __file__",
    "docutils==0.20.1": "scripts that end in .py",
    "Flask==3.1.3": "capitals in the requirement alone",
    "flax==0.12.8": "a name that begins with a space",
    "future_fstrings==1.2.0": "a .pth file that must sort first",
    "gast==0.7.0": "mode 0777 on text",
    "gmsh==4.15.2": "RECORD in hexadecimal, a script with mode 0777, libraries and headers as data",
    "google_pasta==0.2.0": "mode 0640, a package called differently",
    "greenlet==3.5.6": "headers, an empty .data directory entry",
    "invoke==3.0.3": "two commands for one function, code that looks for its own __file__",
    "ipykernel==7.4.0": "a kernel description as data",
    "jaraco.functools==4.6.0": "a namespace package that has no owner",
    "jaraco.text==4.3.0": "the same namespace, a name with a space",
    "jsonpatch==1.33": "two scripts that begin with #!python",
    "jsonpointer==3.1.1": "a script that begins with #!python, one module",
    "jupyterlab_pygments==0.3.0": "data below share/jupyter",
    "libclang==18.1.1": "everything below .data/platlib, code that follows links",
    "lightgbm==4.7.0": "a library beside the code that looks for it",
    "Markdown==3.11.3": "capitals in the requirement alone, a command with an underscore",
    "notebook_shim==0.2.4": "data below etc/jupyter",
    "novelWriter==26.2.2": "a command of [gui_scripts]",
    "numpy==2.2.6": "bytecode inside the wheel, a directory of libraries beside the package",
    "orbax_checkpoint==0.12.4": "paths of up to 238 characters",
    "pillow==13.0.0": "mode 0600, a directory of libraries beside the package",
    "pip==26.3": "a command of Python's version that no wheel declares",
    "ply==3.11": "metadata.json, CRLF",
    "protobuf==3.20.3": "a namespace made by a .pth file",
    "psutil==7.2.2": "abi3",
    "pygame==2.6.1": "headers in directories",
    "PySocks==1.7.1": "two modules, directory entries",
    "requests==2.34.2": "plain",
    "ruff==0.17.6": "a program in machine code as script",
    "setuptools==84.0.0": "a .pth file, 'script (dev).tmpl', vendored .dist-info directories",
    "six==1.17.0": "one module",
    "sniffio==1.3.1": "mode 0666",
    "sphinxcontrib_jsmath==1.0.1": "a namespace made by a .pth file, namespace_packages.txt",
    "thonny==5.0.1": "a command of [gui_scripts], directory entries",
    "torchmetrics==1.9.0": ".pth files that are no path files",
    "typer_slim==0.24.0": "an empty [gui_scripts], mode 0600 on RECORD",
    "virtualenv==21.15.8": "wheels in the wheel",
    "webencodings==0.6.1": "CRLF",
    "wheel==0.24.0": "RECORD.jws, metadata.json, stored members, mode 0600",
    "zope.interface==6.0": "a namespace made by a .pth file, a dot in the name",
}
"""None of them claims a path of another."""

PORTABLE = (
    "argcomplete==1.12.3",
    "coverage==7.16.2",
    "future_fstrings==1.2.0",
    "greenlet==3.5.6",
    "jaraco.text==4.3.0",
    "jsonpointer==3.1.1",
    "notebook_shim==0.2.4",
    "pip==26.3",
    "protobuf==3.20.3",
    "psutil==7.2.2",
    "sniffio==1.3.1",
    "typer_slim==0.24.0",
    "wheel==0.24.0",
)
"""For other interpreters: pure ones, abi3, and some that are built for each version."""

OLD = ("pip==20.3.4", "setuptools==44.1.1")
"""They declare commands of the Python that they were built with."""

OVERLAPPING = ("PyJWT==2.15.0", "jwt==1.4.0")
"""Two projects that claim jwt/__init__.py and three more paths."""

FLASK = (
    "blinker==1.9.0",
    "certifi==2026.10.18",
    "charset_normalizer==3.5.2",
    "click==8.5.1",
    "Flask==3.1.3",
    "idna==3.20",
    "itsdangerous==2.2.0",
    "Jinja2==3.1.6",
    "MarkupSafe==3.0.4",
    "pip==26.3",
    "requests==2.34.2",
    "urllib3==2.8.0",
    "Werkzeug==3.1.9",
)
"""Everything that Flask and Requests need."""

NUMPY = (
    "hypothesis==6.170.15",
    "iniconfig==2.3.1",
    "numpy==2.2.6",
    "packaging==26.3",
    "pluggy==1.7.0",
    "Pygments==2.21.0",
    "pytest==9.2.0",
    "sortedcontainers==2.4.0",
)
"""Everything that numpy's own tests need."""
