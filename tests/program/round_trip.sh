#!/bin/sh
# usage: round_trip.sh PROGRAM: simulate, train, predict, evaluate; threads and repetition change nothing
. "$(dirname "$0")/common.sh"

simulate() { expect 0 'oracle' simulate --out "$1" --cohorts 2 --patients 30,40 --patches 5,20 --features 8 --seed 3; }
simulate data
simulate again
check 'the same seed gives the same files' diff -r data again

train() {
  out=$1
  shift
  expect 0 'C-index' train --bags data/bags --clinical data/clinical.csv --task survival --hidden 8 --attention 8 --epochs 3 --folds 3 --quiet --out "$out" "$@"
}
for pooling in mean max attention gated; do
  train "$pooling" --pooling "$pooling"
  train nll --pooling "$pooling" --loss nll --bins 5 --batch 8 --drop-last --schedule cosine --warm-up 1
done
train threads --threads 3
check 'one thread and three give the same bits' diff -r gated threads
train heads --heads 2 --dropout 0.3 --patience 1 --optimizer adam --decay-matrices-only

evaluate() { expect 0 "$1" evaluate --table gated/risks.csv --time time --event event --score score --group cohort --fold repetition fold "$2"; }
evaluate 'cancer02' --json
check 'JSON names the C-index' grep -q c_index_pooled output
evaluate 'cancer01' --censored

# A model alone scores its test patients as the training did.
expect 0 '70 bags' predict --model gated/rep0_fold1.safetensors --bags data/bags --out scores.csv --attention attention.safetensors
grep '^0,1,' gated/risks.csv | cut -d, -f3,7 | sort >expected
sort scores.csv | join -t, - expected | awk -F, '$2 != $3 { exit 1 }'
check 'predict gives the scores of train' test $? -eq 0
check 'all test patients were found' test "$(sort scores.csv | join -t, - expected | wc -l)" -eq "$(wc -l <expected)"

write_bags bags.csv 24
for loss in bce ce; do
  expect 0 'accuracy' train --bags bags.csv --task class --loss "$loss" --hidden 8 --attention 8 --epochs 30 --folds 4 --repeats 2 --out "$loss" --quiet
  check "$loss: a line for each bag and repetition" test "$(wc -l <"$loss/predictions.csv")" -eq 49
done
expect 0 '24 bags' predict --model bce/rep1_fold3.safetensors --bags bags.csv --out classes.csv
check 'metrics.json has the folds' grep -q '"repetitions"' bce/metrics.json
exit "$failed"
