#!/bin/sh
# Sets up, configures, builds and tests. usage: test.sh [preset, default dev] [arguments of ctest...]
set -eu

cd "$(dirname "$0")/.."
preset=${1:-dev}
[ "$#" -eq 0 ] || shift

sh cmake/setup.sh || echo "going on with what is installed" >&2
CMAKE_BUILD_PARALLEL_LEVEL=${CMAKE_BUILD_PARALLEL_LEVEL:-$(nproc)}
CTEST_PARALLEL_LEVEL=${CTEST_PARALLEL_LEVEL:-$(nproc)}
export CMAKE_BUILD_PARALLEL_LEVEL CTEST_PARALLEL_LEVEL

cmake --preset "$preset"
cmake --build --preset "$preset"
ctest --preset "$preset" --output-on-failure "$@"
