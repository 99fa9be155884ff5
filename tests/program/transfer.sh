#!/bin/sh
# usage: transfer.sh PROGRAM: every method on three small cancers; the same files for any number of threads, and when
# the models are there already; what is kept of STEPH, what it says of patients, models of others
tests=$(cd "$(dirname "$0")/.." && pwd)
. "$tests/program/common.sh"

expect 0 'oracle' simulate --out data --cohorts 3 --patients 24,30 --patches 4,8 --features 6 --censoring 0.3 --seed 4
folds=2 epochs=2
# run <exit code> <text> <folder> <options>...
run() {
  in_code=$1
  in_text=$2
  in_out=$3
  shift 3
  expect "$in_code" "$in_text" transfer --bags data/bags --clinical data/clinical.csv --out "$in_out" --hidden 8 \
    --attention 4 --bins 6 --bin-width 12 --batch 4 --lr 1e-2 --quiet --folds "$folds" --epochs "$epochs" "$@"
}
run 0 'steph-static' one
run 0 'One static encoder' two --threads 2
check 'threads change nothing' diff -r one two
rm two/transfer.json
run 0 'steph-static' two
check 'models that are there are used again' diff -r one two
for method in specific fine-tuned joint average iso-c-fixed ada-entropy ties iso-c ada-merging ties+network iso-c+network \
  ada+network roupkt share=0 share=1 dense vector-weights steph steph-static; do
  check "a row of $method" grep -qF "\"$method\"" one/transfer.json
  check "six folds of $method" test "$(grep -c "^$method,cancer" one/c_index.csv)" -eq 6
done
run 0 'specific' some --target cancer02 --methods specific,steph
check 'one target' test ! -e some/mixtures_cancer01.csv
check 'no more models than it needs' test "$(ls some/base | wc -l)" -eq 5

# What is said of a patient: all sources are selected, so the coefficients sum to the weights; the target's is the sum
# of weights times shares; the risk is minus the sum of a survival that falls.
check 'every patient has a mixture' test "$(wc -l <one/mixtures_cancer01.csv)" -eq 25
check 'columns of a mixture' test "$(head -n 1 one/mixtures_cancer01.csv)" = \
  patient,fold,risk,static_risk,selected,w_cancer02,w_cancer03,share_cancer02,share_cancer03,coefficient_cancer02,coefficient_cancer03,coefficient_cancer01,survival0,survival1,survival2,survival3,survival4,survival5
check 'weights, shares, coefficients, survival and risk agree' awk -F, '
  function far(a, b) { return a - b > 1e-5 || b - a > 1e-5 }
  NR > 1 {
    risk = 0; last = 1
    for (k = 13; k <= 18; ++k) { risk -= $k; bad = bad || $k > last || $k <= 0; last = $k }
    bad = bad || far($3, risk) || far($6 + $7, $10 + $11 + $12) || far($6 * $8 + $7 * $9, $12)
    mixed = mixed || $6 + $7 > 0
  }
  END { exit bad || !mixed }' one/mixtures_cancer01.csv

# Attention, and one encoder for all patients that `stroma predict` takes.
rm some/transfer.json
run 0 'steph' some --target cancer02 --methods specific,steph --attention-maps --export-static still
check 'attention of every patient' test "$(grep -ao '"dtype"' some/attention_cancer02.safetensors | wc -l)" -eq \
  "$(($(wc -l <some/mixtures_cancer02.csv) - 1))"
header=$(od -An -tu8 -N8 some/attention_cancer02.safetensors)
tail -c +$((header + 9)) some/attention_cancer02.safetensors | od -An -v -tf4 >attention
check 'the attention of a patient sums to 1' awk -v bags="$(($(wc -l <some/mixtures_cancer02.csv) - 1))" '
  { for (i = 1; i <= NF; ++i) { sum += $i; bad = bad || $i < 0 } } END { exit bad || sum - bags > 1e-3 || bags - sum > 1e-3 }' attention
for fold in 0 1; do
  expect 0 'bags; written' predict --model still/cancer02_fold$fold.safetensors --bags data/bags --out scores.csv
  check "the exported encoder of fold $fold gives the static risks" awk -F, -v fold=$fold '
    NR == FNR { score[$1] = $2; next }
    FNR > 1 && $2 == fold { ++count; bad = bad || $4 - score[$1] > 1e-9 || score[$1] - $4 > 1e-9 }
    END { exit bad || !count }' scores.csv some/mixtures_cancer02.csv
done

# What STEPH has learned is kept, belongs to the models it was trained with, and to no others.
check 'states of six folds' test "$(ls one/steph | wc -l)" -eq 6
header_of() {
  tail -c +9 "$1" | head -c "$(od -An -tu8 -N8 "$1" | tr -d ' ')"
}
check 'a state has the fingerprint of each model' test "$(header_of one/steph/cancer02_fold1.safetensors |
  grep -oE '"(theta_0|(source|target) cancer0[123])":"[0-9a-f]{64}"' | wc -l)" -eq 4
check 'and nothing but what was trained' test "$(header_of one/steph/cancer02_fold1.safetensors |
  grep -oE '"[a-z_.0-9]*(weight|bias)":' | sort | tr '\n' ' ')" = \
  '"pred_head.bias": "pred_head.weight": "regulate_layer_emb.0.bias": "regulate_layer_emb.0.weight": "regulate_layer_prj.0.bias": "regulate_layer_prj.0.weight": "regulate_layer_prj.3.bias": "regulate_layer_prj.3.weight": "vecmix_layer.0.bias": "vecmix_layer.0.weight": "vecmix_layer.3.bias": "vecmix_layer.3.weight": '
rm some/base/cancer01_fold0.safetensors
run 0 'steph' some --target cancer02 --methods specific,steph --threads 2
check 'a model that is gone is trained again, the state used again' diff some/mixtures_cancer02.csv one/mixtures_cancer02.csv
fingerprint() {
  header_of "$1" | grep -oE '"'"$2"'":"[0-9a-f]{64}"' | grep -oE '[0-9a-f]{64}'
}
source_was=$(fingerprint one/steph/cancer02_fold0.safetensors 'source cancer03')
source_is=$(fingerprint one/steph/cancer03_fold1.safetensors 'target cancer03')
cp one/base/cancer03_fold1.safetensors some/base/cancer03_fold0.safetensors
run 1 "some/steph/cancer02_fold0.safetensors: source cancer03: '$source_was', expected '$source_is'" some \
  --target cancer02 --methods steph
cp one/base/cancer03_fold0.safetensors some/base/
cp one/base/cancer02_fold1.safetensors some/base/cancer02_fold0.safetensors
run 1 'some/steph/cancer02_fold0.safetensors: target cancer02: ' some --target cancer02 --methods steph
cp one/base/cancer02_fold0.safetensors some/base/
for change in '--top-k 1' '--gamma 0.05' '--beta 0.1'; do
  # shellcheck disable=SC2086 # an option and its value
  run 1 'some/steph/cancer02_fold0.safetensors: a model trained with other options' some --target cancer02 --methods steph $change
done

# Folds of a file: those that were assigned, given as a file, change nothing.
{
  echo bag,fold
  tail -q -n +2 one/mixtures_*.csv | cut -d, -f1,2
} >folds.csv
rm two/transfer.json two/mixtures_cancer01.csv
folds=folds.csv
run 0 'steph-static' two
check 'the same folds from a file' diff -r one two
awk -F, '{ print $0 "," (NR == 1 ? "again" : $2) }' folds.csv >twice.csv
folds=twice.csv
run 1 'twice.csv: 2 columns of folds' two
awk -F, '{ print $1 "," (NR == 1 ? "fold" : $1 ~ /^cancer01/ ? 0 : NR % 2) }' folds.csv >whole.csv
folds=whole.csv
run 1 'cohort cancer01, fold 0: no patient to train on' two
folds=2

# Models of others: those of a run, from their files, give what they gave there.
run 0 'steph-static' given --origin one/base/theta_0.safetensors --models 'one/base/{cohort}_fold{fold}.safetensors'
check 'models from files' diff one/c_index.csv given/c_index.csv
check 'none trained' test -z "$(ls given/base)"
run 0 'specific' other --seed 7 --methods specific
theta_is=$(fingerprint other/base/theta_0.safetensors fingerprint)
theta_was=$(fingerprint one/base/theta_0.safetensors fingerprint)
run 1 "one/base/cancer01_fold0.safetensors: the base of fingerprint $theta_was, expected $theta_is" wrong \
  --origin other/base/theta_0.safetensors --models 'one/base/{cohort}_fold{fold}.safetensors'
run 1 "one/base/theta_0.safetensors: the base of fingerprint $theta_was, expected $theta_is" one \
  --origin other/base/theta_0.safetensors
cp one/base/cancer02_fold0.safetensors other/base/theta_0.safetensors
run 1 "other/base/theta_0.safetensors: the base of fingerprint" other --seed 7 --methods specific
cp other/base/cancer01_fold0.safetensors two/base/
run 1 "two/base/cancer01_fold0.safetensors: the base of fingerprint $theta_is, expected $theta_was" two
epochs=3
run 1 'one/base/cancer01_fold0.safetensors: a model trained with other options' one
epochs=2
run 1 "no cohort 'cancer09'" new --target cancer09
expect 2 'no method' transfer --bags data/bags --clinical data/clinical.csv --out new --methods magic
run 1 'nowhere.safetensors' wrong --origin nowhere.safetensors
run 1 'nowhere/cancer01_0.pth' wrong --origin one/base/theta_0.safetensors --models 'nowhere/{cohort}_{fold}.pth'

# PyTorch checkpoints under the public names, in a dict "model" beside an optimiser's state.
expect 0 'oracle' simulate --out data --cohorts 2 --patients 12,12 --patches 4,8 --features 5 --censoring 0.3 --seed 4
rm data/bags/cancer03.safetensors
public() {
  in_code=$1
  in_text=$2
  shift 2
  expect "$in_code" "$in_text" transfer --bags data/bags --clinical data/clinical.csv --attention 3 --bins 2 --bin-width 12 \
    --folds 2 --epochs 2 --batch 4 --lr 1e-2 --quiet --methods specific,average,steph "$@"
}
mkdir pth
for cohort in cancer01 cancer02; do
  for fold in 0 1; do cp "$tests/data/torch/abmil.pth" pth/$cohort-fold_$fold.pth; done
done
theirs='pth/{cohort}-fold_{fold}.pth'
public 0 'steph-static' --hidden 4 --out public --origin pth/cancer01-fold_0.pth --models "$theirs"
public 0 'steph-static' --hidden 4 --out tuned --origin pth/cancer01-fold_0.pth
public 0 'steph-static' --hidden 4 --out again --origin tuned/base/theta_0.safetensors --models "$theirs"
check 'a checkpoint and its safetensors are one model' diff public/c_index.csv again/c_index.csv
public 1 "pth/cancer01-fold_0.pth: tensor 'model.feat_proj.0.weight': shape [4, 5], expected [8, 5]" --hidden 8 --out wrong \
  --origin pth/cancer01-fold_0.pth
public 1 "types.pt: no tensor 'feat_proj.0.weight'" --hidden 4 --out wrong --origin "$tests/data/torch/types.pt"
public 0 'specific' --hidden 4 --out drawn
public 1 "pth/cancer01-fold_0.pth: tensor 'model.feat_proj.0.weight': cosine" --hidden 4 --out wrong \
  --origin drawn/base/theta_0.safetensors --models "$theirs"
expect 2 'origin' transfer --bags data/bags --clinical data/clinical.csv --out new --models "$theirs"
public 2 'no {fold}' --hidden 4 --out new --origin pth/cancer01-fold_0.pth --models 'pth/{cohort}.pth'

exit "$failed"
