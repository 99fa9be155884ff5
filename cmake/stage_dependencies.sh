#!/bin/sh
# Copies the headers that the tests need (Eigen, doctest) from the installed packages into third_party_stage/, which git
# ignores: a machine with a GPU but without a package registry builds from there. usage: stage_dependencies.sh [folder]
set -eu

cd "$(dirname "$0")/.."
to=${1:-third_party_stage}

# first <file to find in> <candidates>...: the first folder that has the file
first() {
  file=$1
  shift
  for folder in "$@"; do
    if [ -e "$folder/$file" ]; then
      echo "$folder"
      return 0
    fi
  done
  echo "stage_dependencies: $file is in none of: $*; install it (libeigen3-dev, doctest-dev)" >&2
  return 1
}

eigen=$(first Eigen/Core "${EIGEN3_ROOT:-/usr}/include/eigen3" /usr/include/eigen3 /usr/local/include/eigen3)
doctest=$(first doctest/doctest.h "${DOCTEST_ROOT:-/usr}/include" /usr/include /usr/local/include)

rm -rf "$to"
mkdir -p "$to/eigen" "$to/doctest"
cp -rL "$eigen/Eigen" "$to/eigen/"
cp -rL "$doctest/doctest" "$to/doctest/"
echo "staged: $(du -sh "$to" | cut -f 1) in $to"
