#!/usr/bin/env bash
# ./eval_models.sh <train_source> <checkpoints> <labels> [more flags of eval_models.py]: a plot for each metric, over 1024 pictures
set -euo pipefail
if [ $# -lt 3 ]; then sed -n 2p "$0" | cut -c3- >&2; exit 2; fi
here=$(cd "$(dirname "$0")" && pwd)
source=$1 checkpoints=$2 labels=$3
shift 3
"${PYTHON:-python}" "$here/eval_models.py" --train_source "$source" --checkpoints "$checkpoints" --labels "$labels" --max_seq_len 1024 --save_plot mse,psnr,ssim "$@"
