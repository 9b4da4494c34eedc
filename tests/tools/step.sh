#!/usr/bin/env bash
# Runs one named step of a longer run and notes how long it took.
#   step.sh LOG NAME COMMAND...   runs the command; its failure ends the run after the report
#   step.sh LOG                   prints the report of all steps so far
set -euo pipefail

log=$1

report() {
    local total=0 seconds verdict name
    printf '\n'
    while IFS=$'\t' read -r seconds verdict name; do
        printf '%5d s  %-6s  %s\n' "$seconds" "$verdict" "$name"
        total=$((total + seconds))
    done <"$log"
    printf '%5d s  total\n' "$total"
}

if (($# == 1)); then
    report
    exit
fi

name=$2
shift 2
printf '\n== %s\n' "$name"
start=$SECONDS
status=0
"$@" || status=$?
if ((status == 0)); then verdict=ok; else verdict=FAILED; fi
mkdir -p "$(dirname "$log")"
printf '%d\t%s\t%s\n' $((SECONDS - start)) "$verdict" "$name" >>"$log"
if ((status != 0)); then report; fi
exit "$status"
