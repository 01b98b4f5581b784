#!/usr/bin/env bash
# All that only a GPU shows, into one JSON: the tests that need one, and what building and training come to.
#
#     pipelines/bench/gpu.sh OUT.json [WHEELS]
#
# Runs in the folder of the repository, with the Python that has torch. Nothing is fetched: what is missing comes from the
# folder of WHEELS, if one is given. At most eight minutes, of which the tests may take three.
set -euo pipefail
out=${1:?usage: pipelines/bench/gpu.sh OUT.json [WHEELS]}
python=${PYTHON:-python3}
if [ "${2:-}" ]; then "$python" -m pip install --quiet --no-index --find-links "$2" --editable '.[bench]' pytest; fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
echo 'model: {init: none, conv_layers: [64, 128, 256]}' > "$work/full.yaml" # learnt in bf16, as always on a GPU

tests=0
timeout 180 "$python" -m pytest -m gpu --junitxml "$work/tests.xml" > "$work/tests.log" 2>&1 || tests=$?
bench=0
timeout 270 "$python" -c 'from batcache.cli.main import main; main()' bench --config "$work/full.yaml" --clips 512 \
  --long-minutes 0 --planned 0 --device cuda --json > "$work/bench.json" 2> "$work/bench.log" || bench=$?

"$python" - "$work" "$out" "$tests" "$bench" <<'PYTHON'
import json, sys
from pathlib import Path

work, out, tests, bench = Path(sys.argv[1]), *sys.argv[2:]


def read(name: str) -> str:
    return (work / name).read_text(errors="replace") if (work / name).exists() else ""


document = {
    "tests": {"exit": int(tests), "log": read("tests.log")[-8000:]},
    "bench": {"exit": int(bench), "log": read("bench.log")[-8000:], "report": json.loads(read("bench.json") or "null")},
}
Path(out).write_text(json.dumps(document, indent=1))
PYTHON
echo "$out: tests exit $tests, bench exit $bench"
[ "$tests" = 0 ] && [ "$bench" = 0 ]
