# Shared by the scripts in this folder: where things are, and how to speak. Source it, don't run it.

# The top of the checkout; every script works from there whatever the caller's directory was.
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# Cargo's output folder, and the finished programs in it.
target=${CARGO_TARGET_DIR:-$top/target}
bin=$target/bin
# Things that cost a download and are the same for every checkout (root file systems).
cache=${RUNW_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/runw}

# One short line about what is being done; stdout stays free for results.
say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }

# One line about what failed and what to do, then the end.
die() { say "$*"; exit 1; }

# Runs a command silently; if it fails, shows the last of what it printed.
# $1 says what it is, the rest is the command.
quietly() {
    local what=$1 log status=0
    shift
    log=$(mktemp)
    "$@" >"$log" 2>&1 || status=$?
    if [ "$status" -ne 0 ]; then
        say "$what failed with exit code $status; the last lines it printed:"
        tail -n 25 "$log" >&2
    fi
    rm -f "$log"
    return "$status"
}

# A rustup toolchain is often not in the PATH of root's non-login shells.
if ! command -v cargo >/dev/null && [ -x "$HOME/.cargo/bin/cargo" ]; then
    PATH=$HOME/.cargo/bin:$PATH
fi
