#!/usr/bin/env bash
# Builds hv-stress with sanitizers and runs it: what the software CPU touches wrongly ends it with a report.
#   tools/sanitize.sh [SECONDS]   how long each of two storms lasts (default 20)
#   SANITIZE=address,undefined    what to build with; each choice has a folder of its own
#   JOBS=N                        compile jobs at a time (default 2)
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-20}
sanitize=${SANITIZE:-address,undefined}
dir=build/sanitize-${sanitize//,/-}

cmake -S . -B "$dir" -G Ninja -DCMAKE_BUILD_TYPE=Release -DPYHV_SANITIZE="$sanitize" \
    -DPython_EXECUTABLE="$PWD/.venv/bin/python" >/dev/null
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! cmake --build "$dir" --target hv-stress --parallel "${JOBS:-2}" >"$log" 2>&1; then
    cat "$log" >&2
    exit 1
fi

export UBSAN_OPTIONS=print_stacktrace=1
for seed in 1 2; do "$dir/silicon/stress/hv-stress" "$seed" "$seconds"; done
