# Makes .venv in the project's root and installs adcli into it; sourced by quickstart.sh and tests/run.sh.
# PYTHON names the interpreter, where python3 is not the one. $1: extras, such as [test].
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || {
    echo "adcli needs Python 3.10 or newer, and $python is not: name another, such as PYTHON=python3.12 sh $0" >&2
    exit 1
}
if [ ! -x .venv/bin/python ] || ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
    "$python" -m venv .venv >/dev/null || {
        echo "$python cannot make virtual environments: install its venv module (Debian: apt install python3-venv)" >&2
        exit 1
    }
fi
echo "installing adcli into .venv (torch is large: a few minutes the first time)"
.venv/bin/python -m pip install --quiet --disable-pip-version-check -e ".$1"
PATH=$PWD/.venv/bin:$PATH
export PATH
