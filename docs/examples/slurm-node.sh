#!/usr/bin/env bash
# fedtune on one machine of a Slurm cluster:
#   sbatch slurm-node.sh sweep my-sweep.yaml --store /shared/trials
#SBATCH --job-name=fedtune
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=16
#SBATCH --mem=64G
#SBATCH --time=12:00:00
#SBATCH --signal=B:TERM@120
# With a GPU also: #SBATCH --gres=gpu:1
set -euo pipefail
source .venv/bin/activate

# `exec`: two minutes before the time is up Slurm's signal goes to fedtune itself, which keeps every
# complete round, closes its run in MLflow and ends with 143. The same command goes on from there.
exec fedtune "$@"
