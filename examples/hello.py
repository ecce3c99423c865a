"""Verify an enclave and say 你好 to it: `source …/env.sh` of `mitai demo --keep`, then `python examples/hello.py`."""  # noqa: INP001 - a script

import os
from pathlib import Path

from mitai import EnclaveClient, load_policy

policy = load_policy(os.environ["MITAI_POLICY"])
token = Path(os.environ["MITAI_TOKEN_FILE"]).read_text(encoding="utf-8").strip()
with EnclaveClient(os.environ["MITAI_ENCLAVE"], policy=policy, token=token) as enclave:
    verified = enclave.verify()  # raises, and nothing was sent, unless every mandatory step passed
    print(f"TEE {verified.tee.value}, measurement {verified.measurement[:16]}…")  # noqa: T201 - an example prints
    print("".join(enclave.chat([{"role": "user", "content": "你好"}])))  # noqa: T201 - the same
