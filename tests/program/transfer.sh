#!/bin/sh
# usage: transfer.sh PROGRAM: every method on three small cancers; the same files for any number of threads, and when
# the models are there already
. "$(dirname "$0")/common.sh"

expect 0 'oracle' simulate --out data --cohorts 3 --patients 24,30 --patches 4,8 --features 6 --censoring 0.3 --seed 4
transfer() {
  out=$1
  shift
  expect 0 steph-static transfer --bags data/bags --clinical data/clinical.csv --out "$out" --hidden 8 --attention 4 \
    --bins 6 --bin-width 12 --folds 2 --epochs 2 --batch 4 --lr 1e-2 --quiet "$@"
}
transfer one
transfer two --threads 2
check 'threads change nothing' diff -r one two
rm two/transfer.json
transfer two
check 'models that are there are used again' diff -r one two
for method in specific fine-tuned joint average ties ada-merging ties+network ada+network share=0 share=1 dense \
  vector-weights steph steph-static; do
  check "a row of $method" grep -qF "\"$method\"" one/transfer.json
  check "six folds of $method" test "$(grep -cF "$method,cancer" one/c_index.csv)" -eq 6
done
check 'every patient has a mixture' test "$(wc -l <one/mixtures_cancer01.csv)" -eq 25
transfer some --target cancer02 --methods specific,steph
check 'one target' test ! -e some/mixtures_cancer01.csv

# What STEPH has learned is kept, belongs to the models it was trained with, and to no others.
check 'states of six folds' test "$(ls one/steph | wc -l)" -eq 6
check 'a state has the fingerprint of each model' test "$(head -c 4000 one/steph/cancer02_fold1.safetensors |
  grep -aoE '"(theta_0|(source|target) cancer0[123])":"[0-9a-f]{64}"' | wc -l)" -eq 4
rm some/transfer.json some/base/cancer01_fold0.safetensors
transfer some --target cancer02 --methods specific,steph --threads 2
check 'a model that is gone is trained again, the state used again' diff some/mixtures_cancer02.csv one/mixtures_cancer02.csv
fingerprint() {
  head -c 4000 "$1" | grep -aoE '"'"$2"'":"[0-9a-f]{64}"' | grep -oE '[0-9a-f]{64}'
}
cp one/base/cancer03_fold1.safetensors one/base/cancer02_fold1.safetensors some/base/
cp some/base/cancer03_fold1.safetensors some/base/cancer03_fold0.safetensors
expect 1 "steph/cancer02_fold0.safetensors: source cancer03: '$(fingerprint one/steph/cancer02_fold0.safetensors 'source cancer03')', expected '" \
  transfer --bags data/bags --clinical data/clinical.csv --out some --hidden 8 --attention 4 --bins 6 --bin-width 12 \
  --folds 2 --epochs 2 --batch 4 --lr 1e-2 --quiet --target cancer02 --methods steph
cp one/base/cancer03_fold0.safetensors some/base/
for change in '--top-k 1' '--gamma 0.05' '--beta 0.1'; do
  # shellcheck disable=SC2086 # the change is an option and its value
  expect 1 'steph/cancer02_fold0.safetensors: a model trained with other options' transfer --bags data/bags \
    --clinical data/clinical.csv --out some --hidden 8 --attention 4 --bins 6 --bin-width 12 --folds 2 --epochs 2 \
    --batch 4 --lr 1e-2 --quiet --target cancer02 --methods steph $change
done
expect 1 'one/base/cancer01_fold0.safetensors: the base of fingerprint' transfer --bags data/bags --clinical data/clinical.csv \
  --out one --hidden 8 --attention 4 --bins 6 --bin-width 12 --folds 2 --epochs 2 --batch 4 --lr 1e-2 --quiet --seed 1

expect 1 'other options' transfer --bags data/bags --clinical data/clinical.csv --out one --hidden 8 --attention 4 --bins 6 \
  --bin-width 12 --folds 2 --epochs 3 --batch 4 --quiet
expect 1 "no cohort 'cancer09'" transfer --bags data/bags --clinical data/clinical.csv --out new --target cancer09
expect 2 'no method' transfer --bags data/bags --clinical data/clinical.csv --out new --methods magic
exit "$failed"
