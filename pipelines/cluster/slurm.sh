#!/usr/bin/env bash
# A build on a Slurm cluster: a Dask scheduler and the build on one node, workers on others.
#
#     sbatch pipelines/cluster/slurm.sh --csv train.csv --cache /project/features.zarr
#
# All options are those of `batcache build`; the recordings and the cache lie where every node sees them. Killed or out
# of time, the same command goes on. The number of tasks below is that of workers; each takes its node's cores.
#SBATCH --job-name=batcache
#SBATCH --ntasks=5
#SBATCH --cpus-per-task=8
#SBATCH --mem-per-cpu=2G
#SBATCH --time=12:00:00
set -euo pipefail
file="${SLURM_SUBMIT_DIR:-$PWD}/.dask-scheduler-${SLURM_JOB_ID:-0}.json"
trap 'kill $(jobs -p) 2>/dev/null || true; rm -f "$file"' EXIT

dask scheduler --port 0 --dashboard-address :0 --scheduler-file "$file" &
until [ -s "$file" ]; do sleep 0.2; done
address=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["address"])' "$file")

srun --overlap --ntasks="$((${SLURM_NTASKS:-2} - 1))" --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" \
  dask worker "$address" --nthreads "${SLURM_CPUS_PER_TASK:-1}" --no-dashboard --memory-limit 0 &

batcache build --scheduler "$address" "$@"
