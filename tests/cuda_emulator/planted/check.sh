#!/bin/sh
# check.sh <compiler> [<folder of Eigen>]: the sanitizers find what is planted here, and nothing in the correct twins.
set -u
compiler=${1:?"usage: check.sh <compiler> [<folder of Eigen>]"}
eigen=${2:-/usr/include/eigen3}
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
failed=0

# ThreadSanitizer of older compilers does not start with the address layout that newer kernels choose at random.
run=
if command -v setarch > /dev/null && setarch -R true 2> /dev/null; then run="setarch -R"; fi

say() {  # <passed> <text>
  if [ "$1" = 1 ]; then echo "ok      $2"; else echo "FAILED  $2"; failed=1; fi
}

build() {  # <sanitizer> <source> <program> [options]
  sanitizer=$1 source=$2 program=$3
  shift 3
  "$compiler" -std=c++20 -O1 -g -fno-omit-frame-pointer "-fsanitize=$sanitizer" "-I$root/include" "-I$root/tests" \
    -isystem "$eigen" "$@" "$here/$source.cpp" -o "$work/$program" -pthread ||
    { say 0 "$source with $sanitizer: does not compile"; return 1; }
}

planted() {  # <sanitizer> <source> <what a report says, one pattern for each mistake>
  sanitizer=$1 source=$2
  shift 2
  build "$sanitizer" "$source" planted || return
  build "$sanitizer" "$source" twin -DPLANTED_CORRECT || return
  n=0
  for pattern in "$@"; do
    $run "$work/planted" $n > "$work/report" 2>&1
    status=$?
    found=0
    if [ $status -ne 0 ] && grep -q "$pattern" "$work/report"; then found=1; fi
    say $found "$source $n: $pattern is found"
    silent=0
    if $run "$work/twin" $n > "$work/report" 2>&1 && ! grep -q Sanitizer "$work/report"; then silent=1; fi
    say $silent "$source $n: nothing in its correct twin"
    if [ $silent = 0 ]; then head -30 "$work/report"; fi
    n=$((n + 1))
  done
}

clean() {  # <sanitizer>
  build "$1" clean clean || return
  silent=0
  if $run "$work/clean" > "$work/report" 2>&1 && ! grep -q Sanitizer "$work/report"; then silent=1; fi
  say $silent "clean: nothing with $1"
  if [ $silent = 0 ]; then head -60 "$work/report"; fi
}

# Some machines forbid what a sanitizer needs to start; there is nothing to say about them.
starts() {  # <sanitizer>
  echo 'int main() {}' | "$compiler" "-fsanitize=$1" -x c++ - -o "$work/probe" && $run "$work/probe" && return 0
  echo "skipped $1: its sanitizer does not start on this machine"
  return 1
}

race="data race"
if starts thread; then
  planted thread race "$race" "$race" "$race" "$race" "$race" "$race"
  clean thread
fi
if starts address; then
  planted address out_of_bounds_global heap-buffer-overflow heap-use-after-free "detected memory leaks"
  planted address out_of_bounds_shared use-after-poison use-after-poison stack-buffer-overflow
  clean address
fi
exit $failed
