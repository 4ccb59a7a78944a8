#!/usr/bin/env bash
# Writes the lock files from pyproject.toml: versions and hashes as the public index has them.
set -euo pipefail
cd "$(dirname "$0")/.."

# A machine's own settings (mirrors, local wheels) must not leave a trace in what others install.
unset PIP_FIND_LINKS PIP_EXTRA_INDEX_URL PIP_INDEX_URL
export PIP_CONFIG_FILE=/dev/null CUSTOM_COMPILE_COMMAND="make lock"

compile() {
    .venv/bin/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras \
        --no-emit-index-url --no-emit-find-links --no-emit-trusted-host "$@"
}

compile --output-file=requirements.lock pyproject.toml
.venv/bin/python - <<'PYTHON' | compile --constraint=requirements.lock \
    --output-file=requirements-dev.lock -
import tomllib

with open("pyproject.toml", "rb") as file:
    project = tomllib.load(file)
print(*project["dependency-groups"]["dev"], *project["build-system"]["requires"], sep="\n")
PYTHON
# What an extra brings has a lock of its own: a node that does without it does not install it.
for extra in libvirt mqtt; do
    .venv/bin/python - "$extra" <<'PYTHON' | compile --constraint=requirements.lock \
        --output-file="requirements-$extra.lock" -
import sys
import tomllib

with open("pyproject.toml", "rb") as file:
    print(*tomllib.load(file)["project"]["optional-dependencies"][sys.argv[1]], sep="\n")
PYTHON
done
# What makes packages and images, on a machine that has no more of the above: deploy/tree.sh.
.venv/bin/python - <<'PYTHON' | compile --constraint=requirements-dev.lock \
    --output-file=requirements-build.lock -
import tomllib

with open("pyproject.toml", "rb") as file:
    print("build", "pip", *tomllib.load(file)["build-system"]["requires"], sep="\n")
PYTHON
