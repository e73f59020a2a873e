#!/usr/bin/env bash
# Compiles what changed in silicon/ and bindings/ and puts the module where the editable install looks for it.
#   tools/build.sh [TARGET]   default: _silicon and Hypervisor, what users need; `all` has the programs of the tests too
#   JOBS=N                    compile jobs at a time (default 2)
set -euo pipefail
cd "$(dirname "$0")/.."
dir=build/dev

mkdir -p build
exec 9>build/.lock
flock 9  # two builds in one checkout take turns

if [[ ! -e $dir/build.ninja ]]; then  # after `make clean`, or a first build that stopped half-way
    rm -f .venv/.ready
    exec tools/setup.sh
fi
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! cmake --build "$dir" --target ${1:-_silicon Hypervisor} --parallel "${JOBS:-2}" >"$log" 2>&1; then
    cat "$log" >&2
    echo "build: failed; the compiler's words are above" >&2
    exit 1
fi
grep -E 'warning:' "$log" >&2 || true
if ! grep -q 'no work to do' "$log" || [[ ! -e $dir/.installed ]]; then
    site=$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("platlib"))')
    cmake --install "$dir" --prefix "$site" >/dev/null
    touch "$dir/.installed"
fi
