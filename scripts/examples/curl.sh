#!/bin/sh
# sh scripts/examples/curl.sh [PROMPT]   with petals api at http://127.0.0.1:8080
# Prints an answer event by event, as it is made. PETALS_KEY: what --api-key was given.
set -eu
url=${PETALS_URL:-http://127.0.0.1:8080}
# Quotes, backslashes and ends of lines in the prompt must not end its JSON text.
prompt=$(printf %s "${1:-Once upon a time}" | sed 's/[\\"]/\\&/g' | awk 'NR > 1 { printf "\\n" } { printf "%s", $0 }')
curl --silent --no-buffer --fail-with-body "$url/v1/chat/completions" \
  --header 'content-type: application/json' \
  --header "authorization: Bearer ${PETALS_KEY:-none}" \
  --data "{\"messages\": [{\"role\": \"user\", \"content\": \"$prompt\"}], \"max_tokens\": 20, \"stream\": true}"
