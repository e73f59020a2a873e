#!/usr/bin/env bash
# Builds a program of the tests with sanitizers and runs it: what the software CPU touches wrongly ends it with a report.
#   tools/sanitize.sh stress [SECONDS]   hv-stress: two storms, each so long (default 20)
#   tools/sanitize.sh fuzz [OPTION…]     hv-fuzz: guests of random bits; `--help` lists its options
#   SANITIZE=address,undefined           what to build with; each choice has a folder of its own
#   JOBS=N                               compile jobs at a time (default 2)
set -euo pipefail
cd "$(dirname "$0")/.."
program=${1:-stress}
(($#)) && shift
sanitize=${SANITIZE:-address,undefined}
dir=build/sanitize-${sanitize//,/-}
if [[ $program != stress && $program != fuzz ]]; then
    echo "sanitize: there is no $program; stress and fuzz would do" >&2
    exit 2
fi

mkdir -p build
log=$(mktemp)
trap 'rm -f "$log"' EXIT
build() {
    exec 9>build/.sanitize-lock
    flock 9  # two builds in one checkout take turns
    cmake -S . -B "$dir" -G Ninja -DCMAKE_BUILD_TYPE=Release -DPYHV_SANITIZE="$sanitize" \
        -DPython_EXECUTABLE="$PWD/.venv/bin/python" >/dev/null &&
        cmake --build "$dir" --target "hv-$program" --parallel "${JOBS:-2}" >"$log" 2>&1
    local built=$?
    exec 9>&-
    return $built
}
if ! build; then
    cat "$log" >&2
    exit 1
fi

export UBSAN_OPTIONS=print_stacktrace=1
if [[ $program == fuzz ]]; then
    rm -f "$log"
    exec "$dir/silicon/fuzz/hv-fuzz" "$@"
fi
for seed in 1 2; do "$dir/silicon/stress/hv-stress" "$seed" "${1:-20}"; done
