#!/usr/bin/env bash
# What can't be measured without a GPU, in one go on a rented one; figures go to outputs/gpu:
#   bash benchmarks/on_gpu.sh configs/wav2vec2_base.yaml [--section.key value …]
# 1. training and prediction of wav2vec2-base and large beside the ordinary ways: clips/s, memory, MFU, bf16 beside float32;
# 2. a whole competition run of the config, with its time: 5,001 + 1,881 demo clips (DATA=DIR: other ones);
# 3. a kill: fold 0 trained once more, killed at its first checkpoint, gone on with, and compared with that of 2 byte by byte.
# BENCHMARKS="--quick" CLIPS=60 tries all of it on a CPU with configs/demo.yaml.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
config=${1:?a config, e.g. configs/wav2vec2_base.yaml}
shift
data=${DATA:-outputs/gpu/data} clips=${CLIPS:-5001}
mkdir -p outputs/gpu

read -ra sizes <<< "${BENCHMARKS:---sizes base large}"
python -m benchmarks training prediction "${sizes[@]}" --output outputs/gpu/benchmarks.json

[ -d "$data" ] || python -m ser.make_demo --output "$data" --clips "$clips" --test_clips $((clips * 1881 / 5001))
words=(--config "$config" --data.root "$data" --run.checkpoint_steps 5 "$@")
began=$SECONDS
python -m ser.train "${words[@]}" --run.output outputs/gpu/whole
echo "the whole run: $((SECONDS - began)) s" | tee outputs/gpu/whole_run.txt

rm -rf outputs/gpu/killed
python -m ser.train "${words[@]}" --run.output outputs/gpu/killed --folds 0 &
until compgen -G "outputs/gpu/killed/fold_0/checkpoints/step_*" > /dev/null; do
    kill -0 $! || { echo "error: it ended before its first checkpoint" >&2; exit 1; }
    sleep 0.05
done
kill -KILL $!
wait $! || true
python -m ser.train "${words[@]}" --run.output outputs/gpu/killed --folds 0
for file in valid.csv test.csv model/model.safetensors; do
    if cmp -s "outputs/gpu/whole/fold_0/$file" "outputs/gpu/killed/fold_0/$file"; then same="the same bytes"; else same="other bytes"; fi
    echo "fold 0 killed and gone on with: $file has $same"
done | tee outputs/gpu/kill.txt
echo "made outputs/gpu: benchmarks.json, benchmarks.md, whole_run.txt, kill.txt"
