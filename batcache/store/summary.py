"""What a store holds, in words and numbers."""

from collections import Counter

from batcache.store.reader import Store


def summarise(store: Store) -> dict[str, str]:
    """Return a store's facts in the order in which one would ask for them."""
    rows = [row for row in store.index.recordings if not row.failure]
    failed = sum(1 for row in store.index.recordings if row.failure)
    distinct = {row.first_instance: row for row in rows}.values()
    used = sum(len(commit.crc32c) for commit in store.index.commits.values())
    live = sum(row.instances for row in distinct)
    rates = Counter(row.true_rate for row in rows)
    features, layout = store.features, store.layout
    lacking = Counter(row.dead_bands for row in rows if row.dead_bands)
    facts = {
        "recordings": f"{len(rows):,} ({sum(row.duration_s for row in rows) / 3600:.2f} h)",
        "instances": f"{live:,} of {layout.frames_per_instance / features.frames_per_second:g} s",
        "on disk": f"{sum(commit.shard_bytes for commit in store.index.commits.values()) / 1e6:,.1f} MB "
        f"in {len(store.index.commits):,} shards",
        "features": f"{features.n_mels} mel bands, {features.fmin / 1000:g} to {features.fmax / 1000:g} kHz, PCEN; "
        f"{features.frames_per_second:g} frames a second",
        "window": f"{features.n_fft} samples every {features.hop_length} at {features.target_sample_rate:,} Hz",
        "true rates": ", ".join(f"{rate:,} Hz ({count:,})" for rate, count in sorted(rates.items())),
        "time-expanded": f"{sum(row.time_expansion != 1 for row in rows):,}",
        "time expansion assumed to be 1": f"{sum(row.ground == 'assumed' for row in rows):,}",
        "lacking upper mel bands": ", ".join(f"{n:,} recordings lack {k}" for k, n in sorted(lacking.items()))
        or "none",
        "copies under another name": f"{len(rows) - len(distinct):,}",
        "fingerprint": features.fingerprint,
    }
    if failed:
        facts["failed while being computed"] = f"{failed:,}"
    if used > live:
        facts["instances no longer used"] = f"{used - live:,}"
    return facts
