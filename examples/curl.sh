#!/usr/bin/env bash
# Talk to an attested enclave with curl, through `mitai serve` on this device:
#
#   mitai serve --local-token-file local-token &
#   MITAI_LOCAL_TOKEN_FILE=local-token examples/curl.sh "你好" [MODEL]
#
# MODEL is one that GET /v1/models lists, for instance kb:handbook; the enclave's own if none is given.
# The token goes to curl through a descriptor: on its command line every process could read it.
set -euo pipefail

url=${MITAI_SERVE_URL:-http://127.0.0.1:8484}
question=${1:-你好}
authorization() { printf 'authorization: Bearer %s\n' "$(<"$MITAI_LOCAL_TOKEN_FILE")"; }

models=$(curl --silent --show-error --fail-with-body --noproxy '*' --header @<(authorization) "$url/v1/models")
echo "$models"
model=${2:-$(python3 -c 'import json, sys; print(json.load(sys.stdin)["data"][0]["id"])' <<<"$models")}

# The answer streams; if it breaks off, an event with an error comes and curl fails (exit code 18).
python3 -c '
import json, sys
messages = [{"role": "user", "content": sys.stdin.read().strip()}]
print(json.dumps({"model": sys.argv[1], "messages": messages, "stream": True}))' "$model" <<<"$question" |
    curl --silent --show-error --fail-with-body --noproxy '*' --no-buffer \
        --header @<(authorization) --header 'content-type: application/json' --data-binary @- \
        "$url/v1/chat/completions"
