#!/bin/sh
# Makes .venv beside this file: first what is pinned, then the library. PYTHON=python3.12 sh install.sh: another Python.
set -e
cd "$(dirname "$0")"
chmod -R go-rwx kit
"${PYTHON:-python3}" -m venv .venv
.venv/bin/python -m pip install --disable-pip-version-check -r requirements.txt
.venv/bin/python -m pip install --disable-pip-version-check --no-deps --force-reinstall WHEEL
echo "Installed. Next: see README.txt"
