#!/bin/sh
# On a machine with a GPU, nvcc and CMake: builds the tests of tests/cuda, runs them plainly and under compute-sanitizer's
# memcheck and racecheck, and measures. Needs no package registry where cmake/stage_dependencies.sh was run before.
# usage: gpu_check.sh [folder for reports, default build/gpu_check]
# Exit code 0: all that could be run passed. Prints one table last; PyTorch's part is left out where it is not installed.
set -u

cd "$(dirname "$0")/.."
out=${1:-build/gpu_check}
build=build/gpu
mkdir -p "$out"
PATH=$PATH:/usr/local/cuda/bin
failed=

# check <name> <command>...: its output goes to a report; the end of it is shown when it fails
check() {
  name=$1
  shift
  if "$@" >"$out/$name.log" 2>&1; then
    echo "$name: passed"
  else
    echo "$name: FAILED ($out/$name.log)"
    tail -n 20 "$out/$name.log"
    failed="$failed $name"
  fi
}

command -v nvcc >/dev/null || { echo "gpu_check: no nvcc" >&2; exit 1; }
nvidia-smi --query-gpu=name,driver_version --format=csv,noheader 2>/dev/null | tee "$out/device.txt"
[ -s "$out/device.txt" ] || { echo "gpu_check: no device" >&2; exit 1; }

staged=
if [ -d third_party_stage ]; then
  staged="-DFETCHCONTENT_SOURCE_DIR_EIGEN3=$PWD/third_party_stage/eigen -DFETCHCONTENT_SOURCE_DIR_DOCTEST=$PWD/third_party_stage/doctest
    -DCMAKE_DISABLE_FIND_PACKAGE_Eigen3=ON -DCMAKE_DISABLE_FIND_PACKAGE_doctest=ON -DFETCHCONTENT_FULLY_DISCONNECTED=ON"
fi
# shellcheck disable=SC2086  # a list of words
check configure cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DSTROMA_CUDA=ON -DSTROMA_CUDA_TESTS=ON \
  -DSTROMA_EXAMPLES=OFF -DSTROMA_HOUSE_TESTS=OFF -DSTROMA_XTENSOR=OFF $staged
check build cmake --build "$build" --target stroma_device_tests stroma_device_bench
tests=$build/tests/stroma_device_tests
bench=$build/tests/stroma_device_bench
[ -x "$tests" ] || { echo "failed:$failed"; exit 1; }

check tests "$tests"
# A file with a few cases for each kernel: the checkers are a hundred times slower than the device.
check memcheck compute-sanitizer --tool memcheck --leak-check full --error-exitcode 1 "$tests"
check racecheck compute-sanitizer --tool racecheck --error-exitcode 1 "$tests"
check bench "$bench"

python=${PYTHON:-python3}
if "$python" -c 'import torch; assert torch.cuda.is_available()' 2>/dev/null; then
  check pytorch "$python" benchmarks/peers/gpu_pytorch.py
else
  echo "PyTorch with CUDA: not here"
fi

echo
cat "$out/device.txt" "$out/bench.log"
[ -e "$out/pytorch.log" ] && cat "$out/pytorch.log"
[ -z "$failed" ] && echo "gpu_check: all passed" || { echo "gpu_check: failed:$failed"; exit 1; }
