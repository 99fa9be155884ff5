# Sourced by the tests of the program `stroma`: $1 is the program, $folder an empty folder that goes with the test.
program=$1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder" || exit 1
failed=0

# expect <exit code> <text in the output, or empty> <arguments of the program>...
expect() {
  code=$1
  text=$2
  shift 2
  "$program" "$@" >output 2>error </dev/null
  found=$?
  if [ "$found" -ne "$code" ]; then
    echo "FAILED: stroma $*: exit code $found, expected $code"
    cat error
    failed=1
  elif [ -n "$text" ] && ! cat output error | grep -qF -- "$text"; then
    echo "FAILED: stroma $*: no '$text' in:"
    cat output error
    failed=1
  elif [ "$code" -eq 1 ] && [ "$(wc -l <error)" -ne 1 ]; then
    echo "FAILED: stroma $*: more than one line on stderr:"
    cat error
    failed=1
  fi
}

# check <what> <command>...: the command succeeds
check() {
  what=$1
  shift
  "$@" || {
    echo "FAILED: $what"
    failed=1
  }
}

# Bags in two classes, with one more feature in the second: write_bags <file> <bags>
write_bags() {
  awk -v bags="$2" 'BEGIN {
    print "bag,label,f0,f1,f2"
    for (b = 0; b < bags; ++b) for (i = 0; i <= b % 3; ++i) print "b" b "," b % 2 "," i / 3 "," (b % 2) + i / 10 "," b % 5
  }' >"$1"
}
# Follow-up of the same bags: write_clinical <file> <bags>
write_clinical() {
  awk -v bags="$2" 'BEGIN { print "patient,time,event"; for (b = 0; b < bags; ++b) print "b" b "," (1 + (b * 7) % 11) "," (b % 3 != 0) }' >"$1"
}
# A safetensors file of a header (ASCII, under 256 bytes) and some zero bytes: write_safetensors <file> <header> <bytes>
write_safetensors() {
  {
    printf "\\$(printf %03o ${#2})\\0\\0\\0\\0\\0\\0\\0"
    printf %s "$2"
    head -c "$3" /dev/zero
  } >"$1"
}
