#!/usr/bin/env bash
# Puts promtool into TOOLS/bin, once: out of Debian's package, of which nothing else is installed.
#   fetch_promtool.sh TOOLS
set -euo pipefail

tools=$(realpath "$1")
if [[ -x $tools/bin/promtool ]]; then
    exit
fi
mkdir -p "$tools/bin"
if found=$(command -v promtool); then
    ln -sf "$found" "$tools/bin/promtool"
    exit
fi
if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
    echo "promtool: there is none on the path, and no Debian to take it from"
    exit
fi
echo "promtool: fetching"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"
if ((EUID == 0)); then
    apt-get update -qq
    # apt drops its rights to fetch, and must still be able to write here.
    chown _apt "$scratch"
fi
apt-get download -qq prometheus
dpkg-deb -x prometheus_*.deb package
install -m 755 package/usr/bin/promtool "$tools/bin/promtool"
