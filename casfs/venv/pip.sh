#!/bin/sh -
# The pip of an environment that has none of its own: the one of its base interpreter, or uv, installs into it, and into nothing else.
bin=$(dirname -- "$(readlink -f -- "$0")")
base=$(readlink -- "$bin/python")
if [ "$1" = install ] || [ "$1" = uninstall ]; then
    if [ ! -w "$bin/../lib" ]; then
        echo "pip: ${bin%/*} is read-only, so pip can't change it; \`casfs add\` and \`casfs remove\` can" >&2
        exit 1
    fi
fi
if "$base" -I -c 'import pip, sys; sys.exit(tuple(map(int, pip.__version__.split(".")[:2])) < (22, 3))' 2>/dev/null; then
    exec "$base" -m pip --python "$bin/python" "$@"
elif command -v uv >/dev/null && [ $# -gt 0 ] && [ "${1#-}" = "$1" ]; then
    command=$1
    shift
    exec uv pip "$command" --python "$bin/python" "$@"
fi
echo "pip: neither $base has pip (22.3 or newer), nor is there a uv that could stand in for it; \`casfs add pip\` adds one" >&2
exit 1
