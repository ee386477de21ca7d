#!/usr/bin/env bash
# Runs the fast tests and a tiny study where much is unusual: SLURM's `srun` and the variables of a job with two tasks,
# a notebook's backend and LaTeX for matplotlib, a Latin-1 output, a HOME that is a regular file, and one processor.
# The study also has an odd locale, terminal, time zone and settings of Python and OpenMP; it runs once more without
# SLURM's number of tasks, as on a cluster's login node. tests/system/test_user_environment.py compares results.
#   bash tests/hostile_environment.sh [BIN]     BIN is the folder of Python and optstudy, .venv/bin by default
set -euo pipefail
cd "$(dirname "$0")/.."
bin=$(realpath "${1:-.venv/bin}")
study=$PWD/configs/smoke.yaml
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

mkdir "$folder/bin"
printf '#!/bin/sh\necho "this srun starts nothing" >&2\nexit 1\n' > "$folder/bin/srun"
chmod +x "$folder/bin/srun"
touch "$folder/home"
echo 'text.usetex: True' > "$folder/matplotlibrc"

hostile=(
  taskset -c "$("$bin/python" -c 'import os; print(min(os.sched_getaffinity(0)))')"
  env -u XDG_CACHE_HOME -u XDG_CONFIG_HOME -u MPLCONFIGDIR -u TORCH_HOME -u HF_HOME
  "PATH=$folder/bin:$PATH" "HOME=$folder/home" "MATPLOTLIBRC=$folder/matplotlibrc"
  MPLBACKEND=module://matplotlib_inline.backend_inline PYTHONIOENCODING=latin-1
  SLURM_JOB_ID=1 SLURM_JOB_NAME=study SLURM_NTASKS=2 SLURM_NNODES=1
  SLURM_NODELIST=localhost SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_NODEID=0
)
odd=(
  LC_ALL=tr_TR.UTF-8 TERM=dumb COLUMNS=20 NO_COLOR=1 TZ=Asia/Kathmandu OMP_NUM_THREADS=3 MKL_NUM_THREADS=3
  PYTHONWARNINGS=error PYTHONHASHSEED=1 PYTHONOPTIMIZE=1 PYTHONUTF8=0
)

"${hostile[@]}" "$bin/python" -m pytest -m "not slow" -n 0

cd "$folder"
for more in SLURM_NTASKS=2 -uSLURM_NTASKS; do
  rm -rf results mlruns
  "${hostile[@]}" env "$more" "${odd[@]}" "$bin/optstudy" run "$study" > output.txt 2> errors.txt || { cat output.txt errors.txt; exit 1; }
  test -s results/smoke/report.html
  test -s results/smoke/figures/headline.svg
  if grep -i -e srun -e traceback -e warning errors.txt; then exit 1; fi
done
echo "The fast tests pass and a study runs in a hostile environment."
