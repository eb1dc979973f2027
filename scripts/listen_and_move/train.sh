#!/usr/bin/env bash
# ./train.sh <number_of_gpus> <train_source> <trial_name> <sound_route> <motion_layers> <motion_type> <image_size> <video_prediction> <crop> <total_iter> [more flags of train.py]
#
# Number of GPUs 0 is the processor. Where <train_source> is a text file (.txt), each of its lines is `source;name;crop`, and each is trained in its turn;
# then <trial_name> goes before the names, and <crop> is for lines without one.
set -euo pipefail
if [ $# -lt 10 ]; then sed -n 2p "$0" | cut -c3- >&2; exit 2; fi
here=$(cd "$(dirname "$0")" && pwd)
gpus=$([ "$1" -gt 0 ] && seq -s, 0 $(($1 - 1)) || echo cpu)
list=$2 name=$3 crop=$9 flags=(--gpus "$gpus" --sound_route "$4" --motion_layers "$5" --motion_type "$6" --image_size "$7" --vid_pred "$8" --total_iter "${10}")
shift 10

train() { "${PYTHON:-python}" "$here/train.py" --train_source "$1" --trial_name "$2" --crop "$3" "${flags[@]}" "${@:4}"; }

if [[ "$list" == *.txt ]]; then
  while IFS=';' read -r source title box || [ -n "$source" ]; do
    [ -z "$source" ] || train "$source" "$name${title:+-$title}" "${box:-$crop}" "$@" < /dev/null
  done < "$list"
else
  train "$list" "$name" "$crop" "$@"
fi
