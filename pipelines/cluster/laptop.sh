#!/usr/bin/env bash
# A build by two Dask workers of this machine. `batcache build` alone uses all cores too: this is to try a cluster out.
#
#     pipelines/cluster/laptop.sh --csv train.csv --cache features.zarr
set -euo pipefail
batcache build --local-workers 2 "$@"
