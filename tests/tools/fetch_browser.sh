#!/usr/bin/env bash
# Sees to it that there is a Chromium for the browser tests, or says what to do. Without one they do
# not run, which the end of the test run says; GALEN_BROWSER_TESTS=required makes that an error.
#   fetch_browser.sh
# GALEN_CHROMIUM names one; otherwise it is the one on the path; otherwise Debian's package, for
# root on a Debian or Ubuntu.
set -euo pipefail

find_browser() {
    local name
    if [[ -n ${GALEN_CHROMIUM:-} ]]; then
        [[ -x $GALEN_CHROMIUM ]] && echo "$GALEN_CHROMIUM"
        return
    fi
    for name in chromium chromium-browser google-chrome-stable google-chrome; do
        command -v "$name" && return
    done
    return 1
}

if find_browser >/dev/null; then
    exit
fi
if [[ -z ${GALEN_CHROMIUM:-} ]] && ((EUID == 0)) && command -v apt-get >/dev/null; then
    echo "browser: installing Debian's chromium"
    export DEBIAN_FRONTEND=noninteractive
    timeout 120 apt-get update -qq || true
    # With a font: a page without letters can not be looked at.
    timeout 600 apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core \
        >/dev/null || true
fi
if ! find_browser >/dev/null; then
    echo "browser: there is no Chromium for the browser tests: install one (Debian: apt-get install" \
        "chromium), or name one in GALEN_CHROMIUM" >&2
    [[ ${GALEN_BROWSER_TESTS:-} != required ]]
fi
