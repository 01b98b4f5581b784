"""What a store holds, in words and numbers."""

from collections import Counter

from batcache.errors import list_some
from batcache.store.format.attributes import describe_front_end
from batcache.store.reader import Store


def summarise(store: Store) -> dict[str, str]:
    """Return a store's facts in the order in which one would ask for them."""
    known = [row for named in store.index.by_path.values() for row in named]
    rows = [row for row in known if not row.failure]
    failed = len(known) - len(rows)
    distinct = {row.first_instance: row for row in rows}.values()
    used = sum(len(commit.crc32c) for commit in store.index.commits.values())
    live = sum(row.instances for row in distinct)
    rates = Counter(row.true_rate for row in rows)
    features, layout = store.features, store.layout
    lacking = Counter((row.true_rate, row.dead_bands) for row in rows if row.dead_bands)
    doubtful = [
        f"{row.path} (taken as {row.time_expansion:g}: {row.expansion_warning})"
        for row in rows
        if row.expansion_warning
    ]
    recorders = Counter(row.recorder for row in rows if row.recorder)
    facts = {
        "recordings": f"{len(rows):,} ({sum(row.duration_s for row in rows) / 3600:.2f} h)",
        "instances": f"{live:,} of {layout.frames_per_instance / features.frames_per_second:g} s",
        "on disk": store.on_disk,
        "features": features.in_words,
        "window": f"{features.n_fft} samples every {features.hop_length} at {features.target_sample_rate:,} Hz",
        "true rates": ", ".join(f"{rate:,} Hz ({count:,})" for rate, count in sorted(rates.items())),
        "time-expanded": f"{sum(row.time_expansion != 1 for row in rows):,}",
        "time expansion known by": _count(Counter(row.expansion_source for row in rows)),
        "time expansion doubtful": f"{len(doubtful):,}" + (f": {list_some(doubtful)}" if doubtful else ""),
        "lacking upper mel bands": ", ".join(
            f"{count:,} of {rate:,} Hz lack {bands}" for (rate, bands), count in sorted(lacking.items())
        )
        or "none",
        "recorders": _count(recorders) if recorders else "not said in the files",
        "copies under another name": f"{len(rows) - len(distinct):,}",
        "front end": f"version {store.front_end_version}",
        "fingerprint": store.fingerprint,
    }
    if other := describe_front_end(features, store.fingerprint):
        facts["front end"] = f"{other}: it can be read, and is built anew in another cache only"
    if failed:
        facts["failed while being computed"] = f"{failed:,}"
    unused = used - sum({row.first_instance: row.instances for row in known}.values())
    if unused:
        facts["instances no longer used"] = f"{unused:,} (`batcache prune` gives them back)"
    return facts


def _count(found: Counter[str]) -> str:
    """Names with their number, the most frequent first."""
    return ", ".join(
        f"{name} ({count:,})" for name, count in sorted(found.items(), key=lambda item: (-item[1], item[0]))
    )
