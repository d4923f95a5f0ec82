#!/bin/sh
# sh scripts/examples/batch.sh [MODEL] < prompts.jsonl > answers.jsonl
# Answers a line each, in their order; without a file on stdin, three prompts of its own.
# PETALS: the executable, ./petals by default.
set -eu
petals=${PETALS:-./petals}
if [ -t 0 ]; then
  printf '{"prompt": "%s"}\n' 'Once upon a time' 'Lily and Tom' 'The dog'
else
  cat
fi | $petals chat "${1:-smollm2-135m}" --jsonl --max-tokens 20
