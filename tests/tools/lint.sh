#!/usr/bin/env bash
# The lints beyond rustfmt and clippy: dependencies, shell scripts, the Dockerfile, alerting rules.
#   lint.sh TOOLS     TOOLS holds bin/{cargo-deny,promtool} and venv/bin/{shellcheck,hadolint}
set -euo pipefail

tools=$1
export PATH="$tools/bin:$PATH"

# A linter without a wheel for this machine is left out, and says so.
optional() {
    local name=$1
    shift
    if [[ -x $tools/venv/bin/$name ]]; then
        "$tools/venv/bin/$name" "$@"
        echo "$name: ok"
    else
        echo "$name: skipped, there is no wheel of it for this machine"
    fi
}

cargo deny --all-features --locked check --hide-inclusion-graph bans licenses sources

# The advisories live in a git repository, which a closed network may not reach.
fetched=$(mktemp)
trap 'rm -f "$fetched"' EXIT
if timeout 120 cargo deny --all-features --locked fetch db >"$fetched" 2>&1; then
    cargo deny --all-features --locked check advisories
else
    echo "advisories: skipped, the RustSec database could not be fetched"
fi

optional shellcheck .ci/run tests/tools/*.sh
optional hadolint --config docker/.hadolint.yaml docker/Dockerfile

if command -v promtool >/dev/null; then
    promtool check config docker/prometheus/prometheus.yml
    promtool test rules docker/prometheus/rules_test.yml
    "${PYTHON:-python3}" tests/tools/dashboard_rules.py docker/grafana/dashboards/*.json >"$fetched"
    promtool check rules "$fetched"
    echo "promtool: ok"
else
    echo "promtool: skipped, there is none for this machine"
fi
