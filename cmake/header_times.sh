#!/bin/sh
# What a header costs whoever includes it: seconds of compiler time for `-O2 -c` of one line, the least of five (noise only adds).
# usage: header_times.sh <compiler> [<flag>]... -- <header>[=<limit in seconds>]...
# Processor time is measured, not the clock, so that a busy machine does not matter much. Fails above a limit.
set -u

command=
while [ "$#" -gt 0 ] && [ "$1" != -- ]; do
  command="$command '$1'"
  shift
done
[ "$#" -gt 0 ] && shift

folder=$(mktemp -d) || exit 1
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' INT TERM

# User and system time of one compilation; the second line that `times` prints is the children's.
compile() {
  (
    eval "$command"' -std=c++20 -O2 -c "$folder/one.cpp" -o "$folder/one.o"' >&2 || exit 1
    times
  ) | awk 'NR == 2 { gsub(/[ms]/, " "); print $1 * 60 + $2 + $3 * 60 + $4 }'
}

failed=0
for item in "$@"; do
  header=${item%%=*}
  limit=${item#"$header"}
  limit=${limit#=}
  printf '#include <stroma/%s>\n' "$header" >"$folder/one.cpp"
  seconds=$({ compile; compile; compile; compile; compile; } | sort -n)
  if [ "$(printf '%s\n' "$seconds" | grep -c .)" -ne 5 ]; then
    echo "stroma/$header: does not compile"
    failed=1
    continue
  fi
  seconds=$(printf '%s\n' "$seconds" | sed -n 1p)
  echo "stroma/$header: $seconds s${limit:+ (limit $limit s)}"
  if [ -n "$limit" ] && awk "BEGIN { exit !($seconds > $limit) }"; then
    echo "stroma/$header: too slow to compile"
    failed=1
  fi
done
exit $failed
