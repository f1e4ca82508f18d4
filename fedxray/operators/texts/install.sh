#!/bin/sh
# Makes .venv beside this file, and installs the pinned packages and the library. For another Python:
# PYTHON=python3.12 sh install.sh
set -e
cd "$(dirname "$0")"
chmod -R go-rwx kit
"${PYTHON:-python3}" -m venv .venv
.venv/bin/python -m pip install --disable-pip-version-check -r requirements.txt
.venv/bin/python -m pip install --disable-pip-version-check --no-deps --force-reinstall WHEEL
echo "Installed. Next: see README.txt"
