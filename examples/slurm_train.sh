#!/usr/bin/env bash
#SBATCH --job-name=resenc-plans
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=48
#SBATCH --time=24:00:00
#SBATCH --signal=B:USR1@300
# Five minutes before the time is up SLURM sends SIGUSR1: training ends with a checkpoint, and the job
# goes back into the queue, where it resumes.
#
#     sbatch examples/slurm_train.sh 4 3d_fullres_bs16 0
set -u
export TORCH_ELASTIC_SHUTDOWN_TIMEOUT=240  # seconds for the last batch and the checkpoint; else 30

nodes=${SLURM_JOB_NUM_NODES:-1}
launch=(torchrun --nnodes "$nodes" --nproc-per-node "${SLURM_GPUS_ON_NODE:-1}")
if [ "$nodes" -gt 1 ]; then
    head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
    launch=(srun "${launch[@]}" --rdzv-backend c10d --rdzv-endpoint "$head:29500")
fi
resume=()
if [ "${SLURM_RESTART_COUNT:-0}" -gt 0 ]; then
    resume=(--resume)
fi

stopped=0
trap 'stopped=1; kill -TERM "$training"' USR1
"${launch[@]}" -m resenc_plans train "$@" ${resume[@]+"${resume[@]}"} &
training=$!
wait "$training"
code=$?
if [ "$stopped" -eq 1 ]; then
    wait "$training"
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
