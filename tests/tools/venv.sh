#!/usr/bin/env bash
# Makes the Python environment FOLDER hold what REQUIREMENTS says; does nothing when it does already.
#   venv.sh FOLDER REQUIREMENTS
# PYTHON names the interpreter (default: python3).
set -euo pipefail

folder=$1
requirements=$2
python=${PYTHON:-python3}
stamp=$folder/.requirements

# The interpreter belongs to the key: an environment does not outlive the Python it was made with.
key=$({ "$python" --version && cat "$requirements"; } | "$python" -c \
    'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())')
if [[ -f $stamp && $(<"$stamp") == "$key" ]]; then
    exit
fi

echo "venv: installing $requirements into $folder"
"$python" -m venv --clear "$folder"
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check -r "$requirements"
# Last, so that a half-made environment is made again.
echo "$key" >"$stamp"
