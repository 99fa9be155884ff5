#!/bin/sh
# usage: survival.sh PROGRAM: cox, concordance and evaluate give the numbers of R's survival 3.5-3 for its ovarian data
data=$(cd "$(dirname "$0")/../data/survival/golden" && pwd) || exit 1
. "$(dirname "$0")/common.sh"
ovarian=$data/ovarian.csv
followed="--table $ovarian --time time --event status"

# near <what> <found> <expected>: equal within 1e-9 of the larger of 1 and the expected number
near() {
  awk -v f="$2" -v e="$3" 'BEGIN { d = f - e; if (d < 0) d = -d; s = e < 0 ? -e : e; exit !(f != "" && d <= 1e-9 * (s > 1 ? s : 1)) }' || {
    echo "FAILED: $1: $2, expected $3"
    failed=1
  }
}
# number <key> <which>: the which-th number under that key in the output of the program
number() { grep -F "\"$1\":" output | sed -n "$2s/.*: *\\([-+.eE0-9]*\\).*/\\1/p"; }

# shellcheck disable=SC2086  # flags
cox() { expect 0 '"coefficients"' cox $followed --covariates age,resid.ds,ecog.ps --json "$@"; }
# three <what> <estimates> <standard errors> <null and fitted log likelihood>
three() {
  i=0
  for e in $2; do i=$((i + 1)); near "$1: coefficient $i" "$(number estimate $i)" "$e"; done
  i=0
  for e in $3; do i=$((i + 1)); near "$1: standard error $i" "$(number se $i)" "$e"; done
  # shellcheck disable=SC2086
  set -- "$1" $4
  near "$1: null log likelihood" "$(number null 1)" "$2"
  near "$1: log likelihood" "$(number fitted 1)" "$3"
}
plain='0.14239663644709788 0.6626058431607287 0.1663403490862794'
errors='0.05196471547119979 0.750449252733712 0.6148582633726247'
for ties in breslow efron exact; do  # no two died at one time
  cox --ties "$ties"
  three "$ties" "$plain" "$errors" '-34.98494037116256 -27.43399268850477'
done
cox --weights w --strata strata
three 'weights, strata' '0.1177615367597289 0.987713097023139 0.1317777259790774' \
  '0.04233056728309822 0.7498203378478817 0.6286764088961028' '-30.428724940121967 -22.802550001496947'
cox --offset offset
three offset '0.14146869243864382 0.5170554509450462 0.18566310940989997' \
  '0.05311461238187543 0.7448009819690197 0.6114254065812711' '-35.55142562164714 -28.808375596849054'
cox --entry entry --weights w --strata strata
three 'late entry, weights, strata' '0.10686319506136646 0.8346292416900872 0.214332932250964' \
  '0.045496604469148105 0.7411593312405109 0.6195024983185619' '-26.555535661264095 -21.641460888959546'
# shellcheck disable=SC2086
expect 0 'Likelihood ratio test' cox $followed --covariates age --ridge 1
# shellcheck disable=SC2086
expect 0 'combination' cox $followed --covariates age,wi,wi
awk 'BEGIN { print "t,e,x"; for (i = 1; i < 9; ++i) print i "," 1 "," (i < 5) }' >separated.csv
expect 0 "rises for ever in 'x'" cox --table separated.csv --time t --event e --covariates x

# shellcheck disable=SC2086
concordance() { expect 0 '"concordance"' concordance $followed --score grid --json "$@"; }
concordance
near C "$(number concordance 1)" 0.7958715596330275
near 'C: variance' "$(number var 1)" 0.0059778969315135815
near concordant "$(number concordant 1)" 173
near discordant "$(number discordant 1)" 44
near tied.x "$(number tied.x 1)" 1
concordance --timewt n/G2 --weights w --strata strata
near Uno "$(number concordance 1)" 0.7961991937064437
near 'Uno: variance' "$(number var 1)" 0.005192005108222594
concordance --timewt I --weights w --entry entry
near I "$(number concordance 1)" 0.714009122131533
near 'I: variance' "$(number var 1)" 0.007290088993093827
concordance --ymax 464
near ymax "$(number concordance 1)" 0.8070652173913043
# shellcheck disable=SC2086
expect 0 'tied.xy' concordance $followed --score grid --strata strata

# shellcheck disable=SC2086
expect 0 'log-rank' evaluate $followed --score grid --group strata --plots pictures --json out.json
check 'a picture for each group' test -s pictures/1.svg -a -s pictures/2.svg
check 'the picture ends' grep -q '</svg>' pictures/1.svg
cp out.json output
near 'evaluate: C' "$(number value 1)" "$(sed -n 's/.*"c_index_pooled": *\([0-9.]*\).*/\1/p' out.json | head -n 1)"
for key in uno auc brier d_calibration median_split; do
  check "evaluate: $key" grep -q "\"$key\"" out.json
done

# shellcheck disable=SC2086
{
  expect 1 "no column 'size'" cox $followed --covariates age,size
  expect 1 'exact' cox $followed --covariates age --ties exact --weights w
  expect 2 '' cox $followed --covariates age --ties late
  expect 2 '' cox $followed
  expect 2 '' concordance $followed --score grid --timewt G
}
printf 't,e,x,s\n1,1,2,3\n2,2,1,1\n' >bad.csv
expect 1 "line 3, column 'e': '2'" cox --table bad.csv --time t --event e --covariates x
printf 't,e,s\n1,1,0\n2,0,3\n' >late.csv
expect 1 "line 3, column 's': '3'" concordance --table late.csv --time t --event e --score t --entry s
printf 't,e,x\n1,0,2\n2,0,1\n' >alive.csv
expect 1 'event: none' cox --table alive.csv --time t --event e --covariates x
expect 1 'no comparable pair' concordance --table alive.csv --time t --event e --score x
exit "$failed"
