#!/bin/sh
# Prints a Python 3.11, 3.12 or 3.13 that can make virtual environments, or says what is missing and how to get it.
set -u

fits() {
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' >/dev/null 2>&1
}

found=""
without_venv=""
for name in ${PYTHON:-} python3 python3.13 python3.12 python3.11 python; do
    # A name may exist and not run (a shim for a version that is not installed), so it is tried, not only looked up.
    if command -v "$name" >/dev/null 2>&1 && fits "$name"; then
        if "$name" -c 'import venv, ensurepip' >/dev/null 2>&1; then
            found="$name"
            break
        fi
        without_venv="$name"
    fi
done

if [ -n "$found" ]; then
    "$found" -c 'import sys; print(sys.executable)'
    exit 0
fi
if [ -n "$without_venv" ]; then
    echo "Relabel needs Python's venv module, which $without_venv lacks." >&2
    echo "  Debian or Ubuntu: apt-get install python3-venv" >&2
    exit 1
fi
cat >&2 <<'TEXT'
Relabel needs Python 3.11, 3.12 or 3.13, and none was found.
  Debian or Ubuntu: apt-get install python3 python3-venv
  Fedora:           dnf install python3.13
  macOS:            brew install python@3.13
  anywhere:         https://www.python.org/downloads/
If it is installed under another name: make demo PYTHON=/path/to/python3
TEXT
exit 1
