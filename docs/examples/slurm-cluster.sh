#!/usr/bin/env bash
# fedtune on several machines of a Slurm cluster, which are one Ray cluster as long as the job runs:
#   sbatch slurm-cluster.sh sweep my-sweep.yaml --store /shared/trials
#SBATCH --job-name=fedtune
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --mem=64G
#SBATCH --time=12:00:00
#SBATCH --signal=B:TERM@120
# With GPUs also: #SBATCH --gpus-per-node=1, and --num-gpus=1 in `share`.
set -euo pipefail
source .venv/bin/activate

export RAY_AUTH_MODE=token  # of a token in the home folder, which the machines share
ray get-auth-token --generate > /dev/null
mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${nodes[0]}
port=${RAY_PORT:-6379}
# Ray would take all that the machines have, not what the job was given. A fifth is for Ray itself.
share=(--num-cpus="$SLURM_CPUS_PER_TASK" --memory="$((SLURM_MEM_PER_NODE * 800000))")

srun --nodes=1 --ntasks=1 --nodelist="$head" \
  ray start --head --port="$port" "${share[@]}" --block &
until ray status --address="$head:$port" > /dev/null 2>&1; do sleep 2; done
for node in "${nodes[@]:1}"; do
  srun --nodes=1 --ntasks=1 --nodelist="$node" \
    ray start --address="$head:$port" "${share[@]}" --block &
done

# The scheduler's signal reaches this script alone: pass it on, and wait for fedtune's end. What else
# the job has started ends with the job.
fedtune "$@" --address "$head:$port" &
launch=$!
trap 'kill -TERM "$launch"' TERM
code=0
wait "$launch" || code=$?
if kill -0 "$launch" 2> /dev/null; then  # the signal had ended the first wait
  code=0
  wait "$launch" || code=$?
fi
kill $(jobs -p) 2> /dev/null || true
exit "$code"
