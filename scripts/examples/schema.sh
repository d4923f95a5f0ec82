#!/bin/sh
# sh scripts/examples/schema.sh [MODEL]   with petals api at http://127.0.0.1:8080
# Asks for JSON that follows a schema; whatever the model thinks, it does.
set -eu
url=${PETALS_URL:-http://127.0.0.1:8080}
curl --silent --fail-with-body "$url/v1/chat/completions" --header 'content-type: application/json' --data '{
  "messages": [{"role": "user", "content": "Describe a cat."}],
  "max_tokens": 200,
  "response_format": {"type": "json_schema", "json_schema": {"name": "cat", "schema": {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 12}, "age": {"type": "integer", "minimum": 0, "maximum": 25}},
    "required": ["name", "age"],
    "additionalProperties": false
  }}}
}'
