#!/usr/bin/env bash
# From a fresh clone to a submission.
#   bash train.sh                                              demo data, five folds, ensemble → submissions/demo.csv (CPU, minutes)
#   bash train.sh configs/wav2vec2_base.yaml                   the same on the real data in input/
#   bash train.sh configs/A.yaml configs/B.yaml --data.root D  several experiments, blended; other words go to every training
#   ... --method=weighted                                      how they are blended: see python -m ser.ensemble --help
# Run it again after any interruption: what is finished is skipped, the rest goes on.
# SER_ENV=active uses the active Python and its torch instead of making .venv.
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@" # sh train.sh: what follows is bash's
set -euo pipefail
caller=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")"
source ./setup_env.sh
SER_STARTED=$(date +%s)  # a --run.time_budget counts for the whole script
export SER_STARTED

# A relative path means the folder this was called in; what is only in the repository (input, configs/X.yaml) is taken from there.
from_caller() {
    if [[ "$caller" = "$PWD" || "$1" = [/~]* || ( -e "$1" && ! -e "$caller/$1" ) ]]; then printf '%s' "$1"; else printf '%s' "$caller/$1"; fi
}
resolved() { # the value $2 of the option $1
    case "$1" in
        --data.root | --data.speakers | --data.transcripts | --data.cache | --cv.file | --config) from_caller "$2" ;;
        --model.name | --model.text_encoder.name) if [ -e "$caller/$2" ]; then from_caller "$2"; else printf '%s' "$2"; fi ;; # or a hub name
        *) printf '%s' "$2" ;;
    esac
}

configs=() options=() blending=() option=
for word in "$@"; do
    case "$word" in
        --*=*) word="${word%%=*}=$(resolved "${word%%=*}" "${word#*=}")" option= ;;
        --*) option=$word ;;
        *) word=$(resolved "$option" "$word") option= ;;
    esac
    case "$word" in
        -h | --help) sed -n '2,8s/^# \?//p' "${BASH_SOURCE[0]##*/}"; exit 0 ;;
        --run.output*) echo "error: train.sh names the outputs after the configs; for --run.output use python -m ser.train" >&2; exit 2 ;;
        --method=*) blending+=("$word") ;;
        --*) options+=("$word") ;;
        *.yaml | *.yml) if [ ${#options[@]} -eq 0 ]; then configs+=("$(from_caller "$word")"); else options+=("$word"); fi ;;
        *) options+=("$word") ;;
    esac
done
for config in ${configs[@]+"${configs[@]}"}; do
    [ -f "$config" ] || { echo "error: no such config: $config. There are: $(ls configs/*.yaml | tr '\n' ' ')" >&2; exit 2; }
done

# Python gets the signal, writes its checkpoint and leaves; then this script leaves with its exit code.
run() {
    "$PYTHON" -m "$@" &
    local child=$! code signalled=1
    trap 'signalled=1; kill -TERM $child 2>/dev/null' TERM HUP INT
    while [ -n "$signalled" ]; do # a signal ends the waiting, not the child
        signalled="" code=0
        wait "$child" || code=$?
    done
    trap - TERM HUP INT
    if [ "$code" -ne 0 ]; then
        [ "$code" -eq 75 ] && say "stopped early; the same command goes on: bash train.sh $arguments"
        exit "$code"
    fi
}
arguments="$*"

requirements=(requirements.txt)
for config in ${configs[@]+"${configs[@]}"}; do # "# Needs requirements-X.txt" in a config's first lines
    for needed in $(sed -n 's/^# Needs \(requirements-[a-z]*\.txt\).*/\1/p' "$config"); do
        say "$config needs $needed ($(head -1 "$needed" | sed 's/^# *//'))"
        [[ " ${requirements[*]} " == *" $needed "* ]] || requirements+=("$needed")
    done
done
prepare_environment "${requirements[@]}"
if [ ${#configs[@]} -eq 0 ]; then
    configs=(configs/demo.yaml)
    say "demo: no config was given"
    [ -f input/train.csv ] && say "input/ holds real data: bash train.sh configs/wav2vec2_base.yaml trains on it"
    run ser.make_demo
fi

outputs=() names=()
for config in "${configs[@]}"; do
    name=$(basename "${config%.*}")
    say "training $name"
    run ser.train --config "$config" ${options[@]+"${options[@]}"}
    outputs+=("outputs/$name")
    case "${blending[*]-}" in *weighted | *stack) ;; *) # models of all clips (cv.full_fit), which have nothing to learn weights from
        for full in "outputs/$name"/full_fit "outputs/$name"/seed_*/full_fit; do [ ! -f "$full/metrics.json" ] || outputs+=("$full"); done ;;
    esac
    names+=("$name")
done
name=$(IFS=+; printf '%s' "${names[*]}" | cut -c1-100)
say "ensemble of ${#outputs[@]} run(s)"
run ser.ensemble "${outputs[@]}" --output "submissions/$name.csv" ${blending[@]+"${blending[@]}"}
