#!/bin/sh
# The main job from nothing: simulates three small cancers, trains a prognosis model on their patch bags by
# cross-validation, scores patients with it and judges it beside the best that anybody could do.
# usage: demo.sh [folder for the results, default build/demo/run]
set -eu

cd "$(dirname "$0")/.."
out=${1:-build/demo/run}
cores=$(nproc 2>/dev/null || echo 1)
say() { printf '\n== %s\n' "$*"; }
run() {
  printf '$ stroma'
  printf ' %s' "$@"
  printf '\n'
  build/demo/examples/stroma "$@"
}

say "1 of 5: build the program (build/demo)"
sh cmake/setup.sh || echo "going on with what is installed" >&2
generator=
if command -v ninja >/dev/null 2>&1; then generator="-G Ninja"; fi
# -O2: as fast a program as -O3 makes here, and a third less to compile.
# shellcheck disable=SC2086  # no word or two
cmake -S . -B build/demo $generator -DCMAKE_BUILD_TYPE=Release -DCMAKE_CXX_FLAGS_RELEASE="-O2 -DNDEBUG" -DSTROMA_NATIVE=ON \
  -DSTROMA_TESTS=OFF -DSTROMA_HOUSE_TESTS=OFF -DSTROMA_EXAMPLES=ON -DSTROMA_INSTALL=OFF >/dev/null
cmake --build build/demo --target stroma_program --parallel "$cores"

say "2 of 5: simulate three cancers with follow-up; the true risk is known"
run simulate --out "$out/cohorts" --cohorts 3 --patients 80,200 --patches 30,120 --features 32 --seed 1

say "3 of 5: train gated attention on all of them with Cox's loss, 5 folds"
run train --bags "$out/cohorts/bags" --clinical "$out/cohorts/clinical.csv" --task survival --loss cox --pooling gated \
  --hidden 64 --attention 32 --epochs 40 --folds 5 --threads "$cores" --out "$out/model"

say "4 of 5: score the patients of one cancer with one of the models"
run predict --model "$out/model/rep0_fold0.safetensors" --bags "$out/cohorts/bags/cancer01.safetensors" \
  --out "$out/scores.csv" --attention "$out/attention.safetensors"
head -n 4 "$out/scores.csv"

say "5 of 5: judge: patients were scored by the model that had not seen them"
run evaluate --table "$out/model/risks.csv" --time time --event event --score score --group cohort --fold fold
echo "the oracle: the true risk itself, which nobody can beat but by luck"
run evaluate --table "$out/cohorts/clinical.csv" --time time --event event --score true_risk --group cohort

say "done: results in $out; build/demo/examples/stroma --help says more"
