#!/usr/bin/env bash
# Runs the tests N times beside two busy processes and in the background, where Ctrl-C is ignored; stops at the
# first failure. What races or counts seconds fails here first.
#   bash scripts/stress_tests.sh 10                     # the whole suite
#   bash scripts/stress_tests.sh 10 tests/viewer -n0    # arguments after N go to pytest
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
times=${1:-10}
shift || true
log=$(mktemp)
busy=()
trap 'kill "${busy[@]}" ${tests:+"$tests"} 2>/dev/null || true' EXIT
trap 'exit 143' TERM
for _ in 1 2; do
    python -c 'while True: pass' &
    busy+=($!)
done
for run in $(seq "$times"); do
    # A shell script's background processes ignore SIGINT; nohup adds SIGHUP.
    nohup python -m pytest -q -x -n 2 --dist loadfile --no-loadscope-reorder "$@" >"$log" 2>&1 &
    tests=$!
    if ! wait "$tests"; then
        tail -n 100 "$log"
        echo "run $run of $times failed; the whole output is in $log"
        exit 1
    fi
    tests=
    echo "run $run of $times: $(tail -n 1 "$log")"
done
rm -f "$log"
