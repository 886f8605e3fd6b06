#!/usr/bin/env bash
# Everything that needs a GPU, in one command of under 25 minutes: builds for the GPU that is there;
# compares instructions with what is known of them; runs the tests of all operations and models on it,
# and of the operations those that are quick under compute-sanitizer, if that is installed; trains
# on MNIST and CIFAR-10; tunes kernels; measures (against PyTorch if that is there). Results go to the
# folder that is given: gpu-steps.json has a line for each step, the others say more.
#
#   bench/gpu.sh [FOLDER]        needs nvcc, g++, cmake, ninja, scikit-build-core, pybind11, pytest
#
# FASTCONV_DATA names a folder with mnist and cifar10; without it digits are trained alone. ONLY, a
# pattern such as 'bench*', leaves out other steps but the build.
set -uo pipefail
cd "$(dirname "$0")/.."
out=$(realpath -m "${1:-${OUT:-bench/results}}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$out"
: >"$out/gpu-steps.json"
failed=()
budget=${BUDGET:-1490}

# step NAME SECONDS COMMAND...: runs it, keeps its output, and notes how it ended, with the JSON object
# that it may print last.
step() {
  local name=$1 limit=$2 start=$SECONDS
  shift 2
  # shellcheck disable=SC2053
  [[ $name == build || $name == ${ONLY:-*} ]] || return 0
  local left=$((budget - SECONDS)) state=ok log="$out/gpu-$name.log"
  if ((left < 5)); then
    state="no time left"
    : >"$log"
  elif ! timeout "$((limit < left ? limit : left))" "$@" >"$log" 2>&1; then
    state=failed
  fi
  [[ $state == ok ]] || failed+=("$name")
  echo "$name: $state, $((SECONDS - start)) s"
  tail -n 4 "$log" | cut -c 1-200
  local result
  result=$(tail -n 1 "$log" | grep '^{.*}$' || echo null)
  printf '{"step": "%s", "state": "%s", "seconds": %d, "result": %s}\n' \
    "$name" "$state" $((SECONDS - start)) "$result" >>"$out/gpu-steps.json"
}

target=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -n 1 | tr -d .)
[[ $target == 90 ]] && target=90a
export SKBUILD_CMAKE_DEFINE="FASTCONV_CUDA_TARGETS=$target-real" CMAKE_BUILD_PARALLEL_LEVEL=$(nproc)
step build 300 python3 -m pip install --quiet --no-index --no-build-isolation --no-deps \
  --target "$work/site" .
export PYTHONPATH="$work/site" PYTHONUNBUFFERED=1
fastconv=(python3 -m fastconv)
step doctor 60 "${fastconv[@]}" doctor --json
step conformance 90 python3 tests/conformance.py --gpu --json "$out/gpu-conformance.json"

jobs=$(python3 -c 'import importlib.util as u; print("-n 8" if u.find_spec("xdist") else "")')
# shellcheck disable=SC2206
tests=(python3 -m pytest -q -p no:cacheprovider -p no:benchmark $jobs)
step operations 200 "${tests[@]}" -k cuda tests/test_op_*.py
step runs 90 "${tests[@]}" -k on_this_gpu tests/test_cuda.py
step parity 120 "${tests[@]}" tests/test_models_parity.py
if command -v compute-sanitizer >/dev/null; then
  step memcheck 150 compute-sanitizer --target-processes all --error-exitcode 1 "${tests[@]}" \
    --hypothesis-profile few -k cuda tests/test_op_*.py
  step racecheck 60 compute-sanitizer --tool racecheck --target-processes all --error-exitcode 1 \
    "${tests[@]}" --hypothesis-profile few -k 'cuda and epilogue' tests/test_op_*.py
fi

digits=digits data=${FASTCONV_DATA:-}
[[ -d $data/mnist ]] && digits=mnist
for dtype in float32 bfloat16 float16; do
  step "train-$digits-$dtype" 60 "${fastconv[@]}" train lenet --data "$digits" --epochs 10 \
    --dtype "$dtype" --device cuda --out "$work/$digits-$dtype" --json
done
if [[ -d $data/cifar10 ]]; then
  cifar=$data/cifar10
  if [[ -f $cifar/train.tar.gz ]]; then # archives of image folders
    cifar=$work/cifar10
    mkdir -p "$cifar"
    for part in train test; do tar -xzf "$data/cifar10/$part.tar.gz" -C "$cifar"; done
  fi
  for dtype in bfloat16 float32; do
    step "train-cifar10-$dtype" 200 "${fastconv[@]}" train resnet9 --data "$cifar" --epochs 28 \
      --batch-size 256 --lr 0.3 --warm-up 0.2 --weight-decay 0.005 --shift 4 --flip --cutout 8 \
      --label-smoothing 0.1 --validation-split 0.02 --dtype "$dtype" --device cuda \
      --out "$work/cifar10-$dtype" --json
  done
fi

step tune 120 "${fastconv[@]}" tune resnet50 --batch-size 256 --dtype bfloat16 --device cuda \
  --out "$out/gpu-kernels.txt" --json
step bench 200 python3 bench/gpu.py --dtype bfloat16 --resident --profile \
  --out "$out/gpu-bfloat16.json" --budget 170
export FASTCONV_TUNED="$out/gpu-kernels.txt"
step bench-tuned 60 python3 bench/gpu.py --dtype bfloat16 --resident --profile \
  --out "$out/gpu-bfloat16-tuned.json" --budget 50 train/resnet50
unset FASTCONV_TUNED
step bench-own-statistics 50 env FASTCONV_KERNEL=conv=-statistics python3 bench/gpu.py \
  --dtype bfloat16 --resident --profile --out "$out/gpu-bfloat16-own-statistics.json" --budget 40 \
  train/resnet50
step bench-compiled 200 python3 bench/gpu.py --dtype bfloat16 --resident --compile \
  --out "$out/gpu-bfloat16-compiled.json" --budget 170
step bench-host 100 python3 bench/gpu.py --dtype bfloat16 --out "$out/gpu-bfloat16-host.json" \
  --budget 80
step bench-tf32 170 python3 bench/gpu.py --dtype tf32 --resident --profile \
  --out "$out/gpu-tf32.json" --budget 140
step bench-float32 100 python3 bench/gpu.py --out "$out/gpu-float32.json" --budget 80
((${#failed[@]} == 0)) || echo "FAILED: ${failed[*]}"
exit $((${#failed[@]} > 0))
