#!/usr/bin/env bash
# Score a data set with several processes on one machine, or on NNODES of them:
#     tools/dist_test.sh CONFIG PROCESSES [any flag of tools/test.py]
set -euo pipefail
if [ $# -lt 2 ]; then
    echo "error: expected CONFIG and PROCESSES, got $# arguments" >&2
    exit 2
fi
CONFIG=$1
PROCESSES=$2
shift 2
exec "${PYTHON:-python}" -m torch.distributed.run \
    --nnodes="${NNODES:-1}" \
    --node_rank="${NODE_RANK:-0}" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" \
    --master_port="${PORT:-29500}" \
    --nproc_per_node="$PROCESSES" \
    "$(dirname "$0")/test.py" "$CONFIG" --launcher pytorch "$@"
