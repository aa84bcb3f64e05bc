#!/usr/bin/env bash
# A search on nodes that Slurm gives: Ray is started on all of them, and ends with the job.
#
#   mkdir -p results && sbatch --nodes=3 cluster/slurm.sh --space search_spaces/cnn.yaml --trials 48
#
# Submit it in the folder that holds .venv, on a file system that all nodes share. The record is
# results/slurm-NAME, NAME being the job's (--job-name). If it is there already, the search goes on
# with its own settings, whatever else is given: a job that its time limit cut off is submitted
# again as it was, and one that was pre-empted requeues itself. More trials for a finished one:
#
#   sbatch cluster/slurm.sh --resume results/slurm-fmnist --trials 96
#SBATCH --job-name=fmnist
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --time=04:00:00
#SBATCH --output=slurm-%x-%j.log
# A node of its own: Ray takes a node's ports, and `ray stop` ends all of a user's Ray there.
#SBATCH --exclusive
#SBATCH --requeue
#SBATCH --open-mode=append
# Two minutes before the end this shell is told, so that the search can say how to go on.
#SBATCH --signal=B:TERM@120
# With GPUs: sbatch --gpus-per-node=1 ...
set -euo pipefail
cd "${SLURM_SUBMIT_DIR:?not started by sbatch}"
export PATH="$PWD/.venv/bin:$PATH"

# One token for all nodes: srun hands the environment on, so the nodes need not share a home.
ray get-auth-token --generate > /dev/null 2>&1
RAY_AUTH_TOKEN=$(ray get-auth-token 2> /dev/null)
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN RAY_USAGE_STATS_ENABLED=0

# The batch script runs on the first node of the job, which becomes the head. Where a node has
# several networks, FMNIST_HEAD_IP names its address on the one to use.
addresses=$(hostname -I)
head_ip=${FMNIST_HEAD_IP:-${addresses%% *}}
port=$((20000 + SLURM_JOB_ID % 10000))
address="$head_ip:$port"
resources=(--num-cpus="${SLURM_CPUS_PER_TASK:-1}" --num-gpus="${SLURM_GPUS_ON_NODE:-0}")

steps=()
driver=
# shellcheck disable=SC2317  # called by the trap
finish() {
  # Ray's nodes end when their srun is told; the search has ended before.
  kill "${steps[@]}" 2> /dev/null || true
  wait || true
}
trap finish EXIT
# To the search alone: it saves, says how to go on and exits with 143 while Ray is still there.
trap 'test -n "$driver" || exit 143; kill -TERM "$driver" 2> /dev/null || true' TERM

srun --nodes=1 --ntasks=1 --nodelist="$SLURMD_NODENAME" --overlap \
  ray start --head --block --node-ip-address="$head_ip" --port="$port" \
  --dashboard-host=127.0.0.1 "${resources[@]}" &
steps+=($!)
if ((SLURM_JOB_NUM_NODES > 1)); then
  # shellcheck disable=SC2016  # expanded on the nodes
  srun --nodes=$((SLURM_JOB_NUM_NODES - 1)) --ntasks=$((SLURM_JOB_NUM_NODES - 1)) \
    --exclude="$SLURMD_NODENAME" --overlap \
    bash -c 'until (exec 3<> "/dev/tcp/${0%:*}/${0#*:}") 2> /dev/null; do sleep 1; done
      exec ray start --block --address="$0" "$@"' "$address" "${resources[@]}" &
  steps+=($!)
fi

# A search plans with the nodes that are there when it begins.
python - "$address" "$SLURM_JOB_NUM_NODES" << 'PYTHON'
import contextlib
import socket
import sys
import time

import ray

address, nodes = sys.argv[1], int(sys.argv[2])
host, _, port = address.rpartition(":")
end = time.monotonic() + 300
while True:
    with contextlib.suppress(OSError):
        socket.create_connection((host, int(port)), timeout=5).close()
        break
    if time.monotonic() > end:
        sys.exit("Ray's head did not start within 5 minutes.")
    time.sleep(1)
ray.init(address=address, log_to_driver=False, logging_level="ERROR")
while (there := sum(node["Alive"] for node in ray.nodes())) < nodes:
    if time.monotonic() > end:
        sys.exit(f"Only {there} of {nodes} nodes joined within 5 minutes.")
    time.sleep(1)
print(f"Ray runs on {there} nodes", flush=True)
PYTHON

name=slurm-${SLURM_JOB_NAME:-fmnist}
if test "${1:-}" != --resume; then
  if test -e "results/$name/run.json"; then
    echo "going on with results/$name, with its own settings"
    set -- --resume "results/$name"
  else
    set -- --results results --name "$name" "$@"
  fi
fi
python -m fmnist_ray.tune --address "$address" "$@" &
driver=$!
code=0
wait "$driver" || code=$?
# A signal ends `wait` before the search has ended.
while kill -0 "$driver" 2> /dev/null; do
  code=0
  wait "$driver" || code=$?
done
exit "$code"
