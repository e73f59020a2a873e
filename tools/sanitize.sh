#!/usr/bin/env bash
# Builds the software CPU's own programs with sanitizers and runs them: what they touch wrongly ends them with a report.
#   tools/sanitize.sh [SECONDS]   how long each program runs (default 20)
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
if ! cmake --build "$dir" --target hv-stress hv-oracle --parallel "${JOBS:-2}" >"$log" 2>&1; then
    cat "$log" >&2
    exit 1
fi

export UBSAN_OPTIONS=print_stacktrace=1
for seed in 1 2; do "$dir/silicon/stress/hv-stress" "$seed" "$seconds"; done
"$dir/silicon/oracle/hv-oracle" --seconds "$seconds"
