#!/usr/bin/env bash
# On a machine with an NVIDIA GPU: runs the tests marked gpu, then trains and times every method there.
#   bash scripts/gpu_check.sh [STEPS]    # steps per method; default 2000
# Results go to docs/benchmarks/gpu.json. gsplat compiles its CUDA kernels at first use: nvcc must be there.
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
python -c 'import sys, torch; sys.exit(None if torch.cuda.is_available() else "torch finds no NVIDIA GPU here")'
python -m pytest -m gpu
exec python scripts/benchmarks/train_gpu.py --steps "${1:-2000}"
