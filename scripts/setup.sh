#!/bin/sh
# Set up .venv: find a Python for the actual set-up (scripts/setup_env) and run it.
# PYTHON=... selects the interpreter.
set -u
cd "$(dirname "$0")/.." || exit 1

new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 10))' >/dev/null 2>&1; }

# Fast path, taken on all runs but the first.
if [ -x .venv/bin/python ] && .venv/bin/python -S -m scripts.setup_env --check 2>/dev/null; then
    exit 0
fi

find_python() {
    for candidate in ${PYTHON:-python3.11 python3.10 python3 python "$HOME"/.pyenv/versions/3.1[01]*/bin/python}; do
        if command -v "$candidate" >/dev/null 2>&1 && new_enough "$candidate"; then
            echo "$candidate"
            return
        fi
    done
}

python=$(find_python)
if [ -z "$python" ] && [ -z "${PYTHON:-}" ] && ! command -v python3 >/dev/null 2>&1 && command -v apt-get >/dev/null 2>&1; then
    sudo=
    [ "$(id -u)" = 0 ] || sudo="sudo -n"
    if $sudo true 2>/dev/null; then
        echo "set-up: installing python3 (apt-get)"
        { $sudo apt-get update && $sudo apt-get install -y --no-install-recommends python3 python3-venv; } >/dev/null 2>&1
        python=$(find_python)
    fi
fi
if [ -z "$python" ]; then
    echo "set-up: ${PYTHON:-no interpreter found}: Python 3.10 or 3.11 is needed; install one, or: make setup PYTHON=/path/to/python3.11" >&2
    exit 1
fi
exec "$python" -m scripts.setup_env
