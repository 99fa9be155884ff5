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

expect 1 'other options' transfer --bags data/bags --clinical data/clinical.csv --out one --hidden 8 --attention 4 --bins 6 \
  --bin-width 12 --folds 2 --epochs 3 --batch 4 --quiet
expect 1 "no cohort 'cancer09'" transfer --bags data/bags --clinical data/clinical.csv --out new --target cancer09
expect 2 'no method' transfer --bags data/bags --clinical data/clinical.csv --out new --methods magic
exit "$failed"
