#!/usr/bin/env bash
# ./eval_FSD50K.sh <train_source> <checkpoints> <FSD50K folder> [more flags of eval_FSD50K.py]: comma-separated checkpoints, one after the other
set -euo pipefail
if [ $# -lt 3 ]; then sed -n 2p "$0" | cut -c3- >&2; exit 2; fi
here=$(cd "$(dirname "$0")" && pwd)
source=$1 corpus=$3
IFS=',' read -ra checkpoints <<< "$2"
shift 3
for checkpoint in "${checkpoints[@]}"; do
  "${PYTHON:-python}" "$here/eval_FSD50K.py" --train_source "$source" --checkpoint "$checkpoint" --fsd50k "$corpus" --out "eval_FSD50K/$(basename "${checkpoint%.*}")" "$@"
done
