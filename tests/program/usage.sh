#!/bin/sh
# usage: usage.sh PROGRAM: help and wrong usage
. "$(dirname "$0")/common.sh"

expect 0 'simulate' --help
expect 0 'stroma 0.' --version
for command in simulate train predict evaluate merge transfer cox concordance; do
  expect 0 'Example' "$command" --help
done
expect 2 ''
expect 2 '' nonsense
expect 2 '--out' simulate
expect 2 '' simulate --out s --patients 9,3
expect 2 '' simulate --out s --cohorts many
expect 2 '' simulate --out s --censoring 2
expect 2 '' evaluate --table t.csv --time a --event b
expect 2 '' predict --model m
expect 2 '' train --bags b.csv --task class
expect 2 '--clinical' train --bags b.csv --task survival --out o
expect 2 '--loss' train --bags b.csv --task class --loss cox --out o
expect 2 '--pooling' train --bags b.csv --task class --pooling mean --heads 2 --out o
expect 2 '--warm-up' train --bags b.csv --task class --warm-up 2 --out o
expect 2 '' train --bags b.csv --task class --pooling median --out o
expect 2 '' train --bags b.csv --task class --lr -1 --out o
expect 2 '' train --bags b.csv --task class --out o --no-such-option
exit "$failed"
