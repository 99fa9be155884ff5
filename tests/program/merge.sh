#!/bin/sh
# usage: merge.sh PROGRAM: models are merged file by file; what does not fit is refused before anything is written
. "$(dirname "$0")/common.sh"

write_bags bags.csv 24
train() { expect 0 'accuracy' train --bags bags.csv --task class --hidden 8 --attention 8 --folds 3 --out "$1" --quiet --epochs "$2" --seed 4; }
train short 1
train long 20
base=short/rep0_fold0.safetensors
merge() { expect 0 "$1" merge --base "$base" --models long/rep0_fold0.safetensors long/rep0_fold1.safetensors --copy input. --quiet --out "$2" --method $3; }

for method in average task-arithmetic ties dare della breadcrumbs slerp model-stock iso-c iso-cts tsv; do
  merge 'written: ' "$method.safetensors" "$method"
  check "$method: threads change nothing" "$program" merge --base "$base" --models long/rep0_fold0.safetensors long/rep0_fold1.safetensors \
    --copy input. --quiet --threads 3 --method "$method" --out again.safetensors >output
  check "$method: the same bytes" cmp "$method.safetensors" again.safetensors
  expect 0 '24 bags' predict --model "$method.safetensors" --bags bags.csv --out scores.csv
done
merge 'feat_proj.0.weight' table.safetensors 'ties --density 0.5 --scale 0.5'
merge '50.0 %' table.safetensors 'ties --density 0.5 --scope tensor --count exact --zero-vote positive'
merge 'sign_conflicts' table.safetensors 'dare --density 0.5 --seed 3 --vote sum --rescale magnitude --json'
merge 'merged' table.safetensors 'breadcrumbs --scope row --weights 1,0.5 --json report.json'
check 'the report is a file' grep -q mean_cosine report.json

# Exact ends: nothing added is the base, one model averaged is itself.
merge 'written' zero.safetensors 'task-arithmetic --scale 0'
check 'scale 0 is the base' cmp zero.safetensors "$base"
expect 0 'of 1 models' merge --models "$base" --method average --out one.safetensors --quiet
check 'the average of one is itself' cmp one.safetensors "$base"
expect 0 'pass 1 ' merge --base "$base" --models long/rep0_fold0.safetensors --method ties --out one.safetensors

expect 0 'written' merge --models long/rep0_fold0.safetensors long/rep0_fold1.safetensors --method slerp --share 1 --copy input. --scope model --out one.safetensors --quiet
expect 1 'importance[0]' merge --models long/rep0_fold0.safetensors --importance long/rep0_fold0.safetensors --method fisher --out never.safetensors --quiet
expect 2 '--importance' merge --models long/rep0_fold0.safetensors --method fisher --out d.safetensors
expect 2 '--models' merge --models long/rep0_fold0.safetensors --method slerp --out d.safetensors

# A dry run verifies and writes nothing.
expect 0 'nothing written' merge --base "$base" --models long/rep0_fold0.safetensors --method ties --dry-run
expect 1 'weights: ' merge --base "$base" --models "$base" "$base" --method average --weights 1,-1 --dry-run

# 16-bit numbers keep their type; integers are copied or refused.
write_safetensors a.safetensors '{"w":{"dtype":"BF16","shape":[2,2],"data_offsets":[0,8]},"v":{"dtype":"F16","shape":[3],"data_offsets":[8,14]},"n":{"dtype":"I64","shape":[1],"data_offsets":[14,22]}}' 22
write_safetensors b.safetensors '{"w":{"dtype":"BF16","shape":[2,2],"data_offsets":[0,8]},"v":{"dtype":"F16","shape":[3],"data_offsets":[8,14]},"n":{"dtype":"I64","shape":[1],"data_offsets":[14,22]}}' 21
printf '\001' >>b.safetensors
expect 0 'copied 1' merge --models a.safetensors a.safetensors --method average --out c.safetensors --quiet
check 'types stay' grep -q 'BF16.*F16.*I64' c.safetensors
expect 1 "b.safetensors: tensor 'n': other integers" merge --models a.safetensors b.safetensors --method average --out d.safetensors
expect 0 '' merge --models a.safetensors b.safetensors --method average --integers base --out d.safetensors --quiet
check "the first model's integers" test "$(tail -c 22 a.safetensors | od -A n -t x1)" = "$(tail -c 22 d.safetensors | od -A n -t x1)"
rm d.safetensors

# What does not fit
write_safetensors shape.safetensors '{"w":{"dtype":"BF16","shape":[4],"data_offsets":[0,8]},"v":{"dtype":"F16","shape":[3],"data_offsets":[8,14]},"n":{"dtype":"I64","shape":[1],"data_offsets":[14,22]}}' 22
expect 1 "shape.safetensors: tensor 'w': shape [4], expected [2, 2]" merge --models a.safetensors shape.safetensors --method average --out d.safetensors
expect 1 'no tensor' merge --models a.safetensors "$base" --method average --out d.safetensors
expect 1 'missing.safetensors' merge --models a.safetensors missing.safetensors --method average --out d.safetensors
expect 1 'no/such' merge --models a.safetensors --method average --out no/such/folder.safetensors --quiet
check 'nothing was written' test ! -e d.safetensors
check 'nothing is left behind' test -z "$(ls -A | grep '^\.stroma')"

# Wrong usage
expect 2 '--base' merge --models a.safetensors --method ties --out d.safetensors
expect 2 '--out' merge --models a.safetensors --method average
expect 2 '--gamma' merge --base a.safetensors --models a.safetensors --method ties --gamma 0.1 --out d.safetensors
expect 2 '--weights' merge --models a.safetensors --method average --weights 1,2 --out d.safetensors
expect 2 '' merge --models a.safetensors --method median --out d.safetensors
expect 2 '' merge --base a.safetensors --models a.safetensors --method ties --density 20 --out d.safetensors
expect 2 '--vote' merge --base a.safetensors --models a.safetensors --method dare --agreeing sum --out d.safetensors
exit "$failed"
