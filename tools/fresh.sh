#!/usr/bin/env bash
# `make run` and `make test` in a bare Debian 12, made for it and thrown away: a set-up step that only this machine has
# done shows there. It needs root and mmdebstrap, and takes what git has committed, not the working tree.
#   TARGETS="run test"   what to make there
#   KEEP=1               leave the root standing, and say where it is
# The root gets this machine's way to the package registries: apt sources and settings, pip settings, certificates.
set -euo pipefail
cd "$(dirname "$0")/.."
targets=${TARGETS:-run test}

die() { printf 'fresh: %s\n' "$@" >&2; exit 1; }
say() { printf '\033[1mfresh: %s\033[0m\n' "$*" >&2; }

((EUID == 0)) || die "needs root (chroot, mounts): sudo make fresh"
command -v mmdebstrap >/dev/null || die "mmdebstrap is missing: apt-get install mmdebstrap"
git rev-parse --git-dir >/dev/null 2>&1 || die "needs a git checkout: it runs what is committed"
[[ -z $(git status --porcelain) ]] || say "note: changes that are not committed are left out"

base=$(mktemp -d /var/tmp/pyhv-fresh.XXXXXX)
root=$base/root
cleanup() {
    if [[ -n ${KEEP:-} ]]; then say "kept: $root"; else rm -rf --one-file-system "$base"; fi
}
trap cleanup EXIT
trap 'exit 130' INT TERM

apt_sources() {  # this machine's Debian 12 sources; none: mmdebstrap takes its default mirror
    find /etc/apt/sources.list /etc/apt/sources.list.d -maxdepth 1 -type f \( -name '*.list' -o -name '*.sources' \) \
        -exec grep -lE '^[^#]*\bbookworm\b.*' {} + 2>/dev/null | xargs -r grep -lE '^[^#]*\bmain\b' || true
}

pip_settings() {  # PIP_NAME=VALUE, one a line, NUL at the end: files and variables of this machine joined
    python3 -m pip config list 2>/dev/null | python3 -c '
import ast, os, sys
settings = {}
for line in sys.stdin:
    key, _, value = line.rstrip("\n").partition("=")
    if value and not key.startswith(":env:"):
        name = "PIP_" + key.split(".", 1)[1].upper().replace("-", "_")
        settings[name] = " ".join(ast.literal_eval(value).split())
settings |= {k: v for k, v in os.environ.items() if k.startswith("PIP_") and k != "PIP_CONFIG_FILE"}
settings |= {k: v for k, v in os.environ.items() if k in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")}
settings |= {k: v for k, v in os.environ.items() if k.lower() in ("http_proxy", "https_proxy", "no_proxy")}
sys.stdout.write("".join(f"{k}={v}\0" for k, v in settings.items()))'
}

bring_in() {  # the files and folders of this machine that a setting names, at the same place in the root
    local word path
    for word in $1; do
        path=${word#file://}
        [[ $word == file://*/simple ]] && path=${path%/simple}  # an index on disk: its files lie beside it
        [[ $path == /* && -e $path && $path != / ]] || continue
        if [[ -d $path ]]; then
            mkdir -p "$root$path"
            printf '%s\n' "$path" >>"$base/folders"
        else
            mkdir -p "$root$(dirname "$path")"
            cp --dereference "$path" "$root$path"
        fi
    done
}

make_root() {
    local -a sources options=()
    mapfile -t sources < <(apt_sources)
    apt-config dump Acquire | grep -vE '""' >"$base/apt.conf"
    [[ -s $base/apt.conf ]] && options+=("--aptopt=$base/apt.conf")
    mmdebstrap --quiet --mode=root --variant=minbase --include=make,ca-certificates "${options[@]}" \
        bookworm "$root" "${sources[@]}"
    cp --dereference /etc/resolv.conf /etc/hosts "$root/etc/"
    git clone --quiet --no-hardlinks . "$root/root/pyhv"
}

run_there() {  # in mount and pid namespaces of its own: nothing of it outlives this script
    local setting
    local -a environment=(HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 TERM="${TERM:-dumb}")
    touch "$base/folders"
    while IFS= read -r -d '' setting; do
        environment+=("$setting")
        bring_in "${setting#*=}"
    done < <(pip_settings)
    unshare --mount --pid --fork --kill-child bash -euc '
        root=$1 folders=$2 targets=$3; shift 3
        mount -t proc proc "$root/proc"
        mount --rbind /dev "$root/dev"
        while read -r path; do mount --bind -o ro "$path" "$root$path"; done <"$folders"
        for target in $targets; do
            chroot "$root" env -i "$@" bash -c "cd /root/pyhv && make $target" </dev/null
        done' fresh "$root" "$base/folders" "$targets" "${environment[@]}"
}

start=$SECONDS
say "making a bare Debian 12"
make_root
say "$(git rev-parse --short HEAD) there: make ${targets// / and make } (root made in $((SECONDS - start)) s)"
run_there || die "failed: make ${targets// / or make } in a bare Debian 12, see above"
say "passed: make ${targets// / and make } in a bare Debian 12, $((SECONDS - start)) s in all"
