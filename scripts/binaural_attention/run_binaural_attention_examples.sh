#!/bin/sh
# The commands of the README: sh run_binaural_attention_examples.sh [basic|adaptive|test|standard|strategy_adaptive|maximum|all] [further flags, which override]
example=${1:-all}; [ $# -gt 0 ] && shift
here=$(dirname "$0"); train="${PYTHON:-python} $here/train_binaural_attention.py"
case "$example" in
  basic) exec $train --dataset batvisionv2 --batch_size 64 --learning_rate 0.001 --nb_epochs 200 --use_wandb --experiment_name binaural_v1 "$@" ;;
  adaptive) exec $train --dataset batvisionv2 --batch_size 64 --use_adaptive_loss --use_wandb --experiment_name binaural_adaptive_v1 "$@" ;;
  test) exec $train --base_channels 32 --attention_levels 3 4 5 --batch_size 128 --nb_epochs 50 --experiment_name binaural_test "$@" ;;
  standard) exec $train --batch_size 64 --nb_epochs 100 --attention_levels 3 4 5 "$@" ;;
  strategy_adaptive) exec $train --batch_size 64 --use_adaptive_loss --nb_epochs 200 "$@" ;;
  maximum) exec $train --base_channels 96 --attention_levels 1 2 3 4 5 --batch_size 32 --use_adaptive_loss --nb_epochs 250 "$@" ;;
  all) for each in basic adaptive test standard strategy_adaptive maximum; do sh "$0" $each "$@" || exit; done ;;
  *) echo "there is no example '$example': basic, adaptive, test, standard, strategy_adaptive, maximum, all" >&2; exit 2 ;;
esac
