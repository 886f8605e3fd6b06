#!/usr/bin/env bash
# Everything that needs a GPU, in one command: builds for the GPU that is there, runs the tests of all
# operations on it, trains, looks for races and bad accesses if compute-sanitizer is installed, and
# measures (against PyTorch if that is). Results go to the folder that is given, as JSON and logs.
#
#   bench/gpu.sh [FOLDER]        needs nvcc, g++, cmake, ninja, scikit-build-core, pybind11, pytest
set -uo pipefail
cd "$(dirname "$0")/.."
out=$(realpath -m "${1:-${OUT:-bench/results}}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$out"
failed=()

# step NAME SECONDS COMMAND...: runs it, keeps its output, and notes a failure.
step() {
  local name=$1 limit=$2 start=$SECONDS
  shift 2
  if timeout "$limit" "$@" >"$out/gpu-$name.log" 2>&1; then local state=ok; else
    local state=FAILED
    failed+=("$name")
  fi
  echo "$name: $state, $((SECONDS - start)) s"
  tail -n 4 "$out/gpu-$name.log"
}

target=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -n 1 | tr -d .)
[[ $target == 90 ]] && target=90a
export SKBUILD_CMAKE_DEFINE="FASTCONV_CUDA_TARGETS=$target-real" CMAKE_BUILD_PARALLEL_LEVEL=$(nproc)
step build 300 python3 -m pip install --quiet --no-index --no-build-isolation --no-deps \
  --target "$work/site" .
export PYTHONPATH="$work/site" PYTHONUNBUFFERED=1
step doctor 60 python3 -m fastconv doctor
jobs=$(python3 -c 'import importlib.util as u; print("-n 8" if u.find_spec("xdist") else "")')
tests=(python3 -m pytest -q -p no:cacheprovider -p no:benchmark)
# shellcheck disable=SC2086
step operations 200 "${tests[@]}" $jobs -k cuda tests/test_op_*.py
step runs 90 "${tests[@]}" -k on_this_gpu tests/test_cuda.py
data=digits
[[ -n ${FASTCONV_DATA:-} && -d $FASTCONV_DATA/mnist ]] && data=mnist
step train 90 python3 -m fastconv train lenet --data "$data" --device cuda
step bench 280 python3 bench/gpu.py --dtype bfloat16 --resident --profile \
  --out "$out/gpu-bfloat16.json" --budget 200
step bench-host 160 python3 bench/gpu.py --dtype bfloat16 --out "$out/gpu-bfloat16-host.json" --budget 100
step bench-float32 160 python3 bench/gpu.py --out "$out/gpu-float32.json" --budget 100
if command -v compute-sanitizer >/dev/null; then
  step memcheck 60 compute-sanitizer --error-exitcode 1 "${tests[@]}" -x \
    -k 'cuda and epilogue' tests/test_op_gemm.py tests/test_op_conv.py
fi
((${#failed[@]} == 0)) || echo "FAILED: ${failed[*]}"
exit $((${#failed[@]} > 0))
