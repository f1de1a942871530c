"""Run by an environment's Python: what it thinks of where it is."""

import json
import os
import site
import sys
import sysconfig

names = ("executable", "prefix", "exec_prefix", "base_prefix", "base_exec_prefix", "path", "argv", "orig_argv", "flags")
variables = ("prefix", "exec_prefix", "base", "platbase", "installed_base", "py_version_short", "LIBDIR", "INCLUDEPY", "SOABI", "userbase")
schemes = {scheme: sysconfig.get_paths(scheme) for scheme in sysconfig.get_scheme_names() if "user" not in scheme}
answer = {
    "sys": {name: getattr(sys, name) for name in names},
    "base interpreter": os.path.realpath(sys._base_executable),  # type: ignore[attr-defined]
    "paths": sysconfig.get_paths(),
    "schemes": schemes,
    "default scheme": sysconfig.get_default_scheme(),
    "variables": {name: sysconfig.get_config_var(name) for name in variables},
    "site-packages": site.getsitepackages(),
    "user site": site.ENABLE_USER_SITE,
}
json.dump(answer, sys.stdout, indent=1, sort_keys=True)
