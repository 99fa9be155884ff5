#!/bin/sh
# usage: resume.sh PROGRAM: a run that is killed and resumed ends in the bits of one that was not
. "$(dirname "$0")/common.sh"

# train <prefix command, or env> -- the options of the run
train() {
  "$@" train --bags data/bags --clinical data/clinical.csv --task survival --loss "$loss" --hidden 32 --attention 16 --dropout 0.2 \
    --epochs 30 --patience 25 --folds 3 --checkpoint-every 2 --quiet --resume --out "$out" >output 2>error
}

expect 0 '' simulate --out data --cohorts 1 --patients 60 --patches 20,60 --features 16 --seed 4
for loss in cox nll; do
  out=whole_$loss
  train "$program" || cat error
  out=killed_$loss
  for wait in 0.2 0.3 0.5; do train timeout -s KILL "$wait" "$program"; done
  train "$program" || cat error
  check "$loss: the same bits" diff -r "whole_$loss" "killed_$loss"
done
exit "$failed"
