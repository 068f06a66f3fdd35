#!/usr/bin/env bash
# What the task files run on each machine: fetches the run from the bucket, trains this machine's folds, and puts what is new into the bucket
# every few minutes. A machine that is taken away costs these minutes; where it happens in an upload, at worst the running fold.
#   CONFIG=configs/wav2vec2_base.yaml bash configs/cloud/train_on_cloud.sh [--section.key value …]
# SkyPilot says which of how many machines this is; STORE is where the bucket is mounted, FOLDS is cv.n:
# set both where --cv.n is given.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source ./setup_env.sh
store=${STORE:-/bucket} folds=${FOLDS:-5} every=${PUT_SECONDS:-240}
nodes=${SKYPILOT_NUM_NODES:-1} node=${SKYPILOT_NODE_RANK:-0} gpus=${SKYPILOT_NUM_GPUS_PER_NODE:-1}
name=$(basename "${CONFIG%.*}")
mine=$(seq "$node" "$nodes" $((folds - 1)))

copy() { # newer files from $1 to $2; metrics.json last, as it says that a fold is whole
    mkdir -p "$1" "$2"
    { find "$1" -type f ! -path '*/.*' ! -name metrics.json; find "$1" -type f -name metrics.json; } | while IFS= read -r file; do
        mkdir -p "$2/$(dirname "${file#"$1"/}")"
        cp -pu "$file" "$2/${file#"$1"/}" || [ ! -e "$file" ] # an old checkpoint may go meanwhile
    done
}
fetch() { copy "$store/$name" "outputs/$name"; }
put() {
    local fold old
    copy "outputs/$name" "$store/$name"
    for fold in $mine; do # what this machine no longer has of its own folds: old checkpoints
        for old in "$store/$name/fold_$fold/checkpoints"/*; do
            [ ! -e "$old" ] || [ -e "outputs/${old#"$store"/}" ] || rm -rf "$old"
        done
    done
}

fetch
prepare_environment requirements.txt
(while sleep "$every"; do put; done) &
putting=$!
trap 'kill "$putting" 2>/dev/null || true' EXIT

launcher=()
[ "$gpus" -le 1 ] || launcher=(-m torch.distributed.run --standalone --nproc_per_node "$gpus")
code=0
[ -z "$mine" ] || "$PYTHON" ${launcher[@]+"${launcher[@]}"} -m ser.train --config "$CONFIG" --folds "$(paste -sd, <<<"$mine")" "$@" || code=$?
kill "$putting" 2>/dev/null || true
put
[ "$code" -eq 0 ] || exit "$code"
[ "$node" -eq 0 ] || exit 0

until [ "$(find "$store/$name" -mindepth 2 -maxdepth 2 -path '*/fold_*/metrics.json' | wc -l)" -ge "$folds" ]; do
    say "waiting for the other machines' folds"
    sleep "$every"
done
fetch
bash train.sh "$CONFIG" "$@" # all folds are finished: the report and the submission
put
copy submissions "$store/submissions"
say "put into the bucket: $name and submissions"
