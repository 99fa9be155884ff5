#!/bin/sh
# usage: bad_input.sh PROGRAM: files that are not what they should be give exit code 1 and one line that names the place
. "$(dirname "$0")/common.sh"

classes() { expect 1 "$1" train --bags "$2" --task class --folds "${3:-2}" --hidden 4 --attention 4 --epochs 1 --out out --quiet; }
survival() { expect 1 "$1" train --bags bags.csv --clinical "$2" --task survival --folds "${3:-2}" --hidden 4 --attention 4 --epochs 1 --out out --quiet; }
write_bags bags.csv 12
write_clinical clinical.csv 12

# Bags as CSV
classes 'missing.csv' missing.csv
: >empty.csv
classes 'empty.csv' empty.csv
printf 'bag,label,f0\n' >header.csv
classes 'no instance' header.csv
printf 'bag,label,f0\na,0,1\nb,1,abc\n' >text.csv
classes "line 3, column 'f0': 'abc'" text.csv
printf 'bag,label,f0\na,0,1\nb,1,nan\n' >nan.csv
classes "line 3, column 'f0'" nan.csv
printf 'bag,label,f0\na,0,1\na,1,2\n' >labels.csv
classes "line 3, column 'label'" labels.csv
printf 'name,label,f0\na,0,1\n' >column.csv
classes "no column 'bag'" column.csv
printf 'bag,label,f0\na,0,1\nb,1\n' >short.csv
classes 'line 3: 2 cells' short.csv
printf 'bag,label,f0\na,0.5,1\nb,1,2\n' >half.csv
classes "bag 'a'" half.csv
printf 'bag,label,f0\na,0,1\n' >single.csv
classes '1 samples' single.csv
printf 'bag,rep0\nb0,0\n' >folds.csv
classes "no row of bag 'b1'" bags.csv folds.csv

# Bags as safetensors
write_safetensors empty_bag.safetensors '{"a":{"dtype":"F32","shape":[0,2],"data_offsets":[0,0]},"b":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]}}' 8
classes "bag 'a': no instance" empty_bag.safetensors
write_safetensors widths.safetensors '{"a":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[1,3],"data_offsets":[8,20]}}' 20
classes "tensor 'b': 3 features" widths.safetensors
write_safetensors truncated.safetensors '{"a":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]}}' 4
classes 'truncated.safetensors' truncated.safetensors
write_safetensors beyond.safetensors '{"a":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[1,2],"data_offsets":[64,72]}}' 16
classes "tensor 'b'" beyond.safetensors
write_safetensors overlap.safetensors '{"a":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[1,2],"data_offsets":[4,12]}}' 12
classes 'overlap.safetensors' overlap.safetensors
write_safetensors negative.safetensors '{"a":{"dtype":"F32","shape":[-1,2],"data_offsets":[0,8]}}' 8
classes 'negative.safetensors' negative.safetensors
write_safetensors huge.safetensors '{"a":{"dtype":"F32","shape":[1152921504606846976,2],"data_offsets":[0,8]}}' 8
classes 'huge.safetensors' huge.safetensors
write_safetensors twice.safetensors '{"a":{"dtype":"F32","shape":[1,1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1,1],"data_offsets":[4,8]}}' 8
classes 'twice.safetensors' twice.safetensors
write_safetensors unlabelled.safetensors '{"a":{"dtype":"F32","shape":[1,1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1,1],"data_offsets":[4,8]}}' 8
classes 'label' unlabelled.safetensors
head -c 5 /dev/zero >tiny.safetensors
classes 'tiny.safetensors' tiny.safetensors

# Follow-up
survival 'missing.csv' missing.csv
sed 's/time/months/' clinical.csv >columns.csv
survival "no column 'time'" columns.csv
sed '3s/,[0-9]*,/,soon,/' clinical.csv >soon.csv
survival "line 3, column 'time': 'soon'" soon.csv
sed '3s/,[0-9]*,/,-2,/' clinical.csv >before.csv
survival "line 3, column 'time'" before.csv
sed '3s/,[01]$/,2/' clinical.csv >two.csv
survival "line 3, column 'event'" two.csv
sed '3d' clinical.csv >fewer.csv
survival "'b1'" fewer.csv
sed 's/,[01]$/,0/' clinical.csv >alive.csv
survival 'no event' alive.csv
sed '3,$s/,[01]$/,0/;2s/,[01]$/,1/' clinical.csv >one.csv
survival 'no event among' one.csv

# Tables of risks
printf 'time,event,score\n1,1,2\n2,0,x\n' >risks.csv
expect 1 "line 3, column 'score': 'x'" evaluate --table risks.csv --time time --event event --score score
expect 1 "no column 'risk'" evaluate --table risks.csv --time time --event event --score risk
printf 'time,event,score\n1,0,2\n2,0,1\n' >risks.csv
expect 1 'no comparable pair' evaluate --table risks.csv --time time --event event --score score
printf 'time,event,score\n1,3,2\n2,0,1\n' >risks.csv
expect 1 "line 2, column 'event'" evaluate --table risks.csv --time time --event event --score score

# Models
expect 0 '' train --bags bags.csv --task class --folds 2 --hidden 4 --attention 4 --epochs 1 --out out --quiet
expect 1 'bags.csv' predict --model bags.csv --bags bags.csv --out p.csv
expect 1 "format: ''" predict --model unlabelled.safetensors --bags bags.csv --out p.csv
head -c 600 out/rep0_fold0.safetensors >cut.safetensors
expect 1 'cut.safetensors' predict --model cut.safetensors --bags bags.csv --out p.csv
sed 's/"hidden\\":\[4\]/"hidden\\":[5]/' out/rep0_fold0.safetensors >other.safetensors
expect 1 "tensor 'feat_proj.0.weight'" predict --model other.safetensors --bags bags.csv --out p.csv
cut -d, -f1-4 bags.csv >narrow.csv
expect 1 '2 columns, expected 3' predict --model out/rep0_fold0.safetensors --bags narrow.csv --out p.csv
expect 1 'other options' train --bags bags.csv --task class --folds 2 --hidden 5 --attention 4 --epochs 1 --out out --quiet --resume
expect 1 'no/such' predict --model out/rep0_fold0.safetensors --bags bags.csv --out no/such/folder/p.csv
exit "$failed"
