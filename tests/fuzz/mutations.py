"""Files to break, ways to break them, and the readers that must not break: run as a script, in bounds of its own.

``python -m tests.fuzz.mutations KIND CASES SEED FOLDER [REAL]`` breaks files of a kind so many times and prints what it
met as JSON. It runs as another process since it limits its own memory: once all is imported, 256 MB more than it has.
"""

import hashlib
import json
import resource
import signal
import socket
import struct
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import yaml

from batcache.config.features import FeatureConfig
from batcache.config.load import load_config
from batcache.config.settings import Config, to_plain
from batcache.errors import BatcacheError
from batcache.features.audio import content_hash, read_blocks, read_header
from batcache.features.expansion import doubt_length, find_expansion
from batcache.features.levels import Levels
from batcache.features.metadata import read_metadata
from batcache.manifest.manifest import read_manifest
from batcache.store.format.array import read_array_metadata, resize
from batcache.store.format.attributes import create_store
from batcache.store.format.commit import CachedRecording, Commit, write_commit
from batcache.store.format.last_build import LAST_BUILD, read_last_build
from batcache.store.format.layout import Layout
from batcache.store.format.lock import LOCK, hold
from batcache.store.format.shard import ShardWriter, shard_path
from batcache.store.reader import Store
from batcache.store.summary import summarise
from tests.features.test_audio import chunk, pcm, riff
from tests.features.test_metadata import GUANO, WAMD, guano

ROOM = 256 << 20
LONGEST_S = 2.0
"""Processor time that a case may take: a thousand times what most take."""

HANG_S = 30.0
KEPT_AUDIO = 4000  # bytes; of the real files only the headers matter
NUMBERS = [0, 1, 2, 7, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF, 1 << 36]
SCRAPS = [b"guan", b"wamd", b"data", b"fmt ", b"RIFF", b"RF64", b"ds64", b"fLaC", b"riff", b"LIST", b"\0" * 8, b"\n:\n"]
SCRAPS += [b"BW64", b"ID3\4\0\0\0\0\0\7", b"INFOICMT", b"Recorded at 22:10:00 12/04/2024 (UTC+9", b"AudioMoth"]
TEXT_SCRAPS = [
    *(b"\n", b"\r\n", b",", b";", b"\t", b'"', b"\0", b"\xff", b"\xef\xbb\xbf", b"../", b"/", b"C:\\", b"1e999", b"-1"),
    *(b"nan", b": ", b"- ", b"[", b"{", b"}", b"&a ", b"*a", b"!!python/name:os.system", b"? ", b"<<: *a", b"|\n"),
    *(b"0x", b"9" * 5000, b"2024-13-41", b"!!binary x", b"!!int x", b"---\n", b"[" * 2000),
]


COMMENT = (
    b"INFOICMT\x80\0\0\0Recorded at 22:10:00 12/04/2024 (UTC) by AudioMoth 0123456789ABCDEF at medium gain "
    b"while battery was 4.1V and temperature was -1.2C."
).ljust(12 + 128, b"\0")


def audio_seeds(folder: Path, real: Path | None) -> list[bytes]:
    """Small files of every container and coding, with metadata; and the real ones with but the start of their audio."""
    rng = np.random.default_rng(0)
    ramp = chunk(b"data", np.arange(-2000, 2000, dtype="<i2").tobytes())
    tags = (guano(GUANO), chunk(b"wamd", WAMD))
    floats = chunk(b"data", rng.standard_normal(500).astype("<f4").tobytes())
    seeds = [
        riff(pcm(38_400), ramp, *tags),
        riff(*tags, pcm(96_000), chunk(b"LIST", b"INFOIART\4\0\0\0abc\0"), ramp),
        riff(pcm(384_000, tag=3, bits=32), chunk(b"fact", b"\0\2\0\0"), floats),
        riff(pcm(48_000, channels=2, bits=24), chunk(b"data", bytes(600)), tags[0]),
        riff(pcm(48_000), chunk(b"LIST", COMMENT), ramp, chunk(b"junk", b"odd")[:-1], tags[0]),
    ]
    for kind, subtype in (("WAVEX", "PCM_16"), ("RF64", "PCM_24"), ("FLAC", "PCM_16"), ("FLAC", "PCM_24")):
        place = folder / "seed"
        soundfile.write(place, rng.integers(-9999, 9999, 3000).astype(np.int16), 96_000, subtype=subtype, format=kind)
        seeds.append(place.read_bytes())
        if kind == "FLAC":
            block = b"riff" + tags[0]
            seeds.append(seeds[-1][:42] + bytes([2]) + len(block).to_bytes(3, "big") + block + seeds[-1][42:])
    for path in sorted((real / "audio").iterdir()) if real else ():
        content, header = path.read_bytes(), read_header(path)
        start, end = header.audio_start, header.audio_start + header.audio_bytes
        kept = min(KEPT_AUDIO, header.audio_bytes) & ~15
        seeds.append(content[: start - 4] + struct.pack("<I", kept) + content[start : start + kept] + content[end:])
    return seeds


def csv_seeds(real: Path | None) -> list[bytes]:
    rows = "a.wav,train,n1,10,0,2.5,1,0\nb/c.wav,test,n2,,,,,1\n"
    header = "filename,split,group,time_expansion,start_s,duration_s,Myotis myotis,Nyctalus noctula\n"
    seeds = [
        (header + rows).encode(),
        b"\xef\xbb\xbf" + (header + rows).replace(",", ";").encode(),
        b'filename,"a b"\n"x, y.wav",1\n',
    ]
    if real:
        seeds.append((real / "manifest.csv").read_bytes()[:6000].rpartition(b"\n")[0])
    return seeds


def yaml_seeds() -> list[bytes]:
    """Every setting; the pipelines; and lists of lists of one list, which stand for ten million numbers."""
    lists = [f"&a{i} [{', '.join([f'*a{i - 1}' if i else '1'] * 10)}]" for i in range(7)]
    bombs = [f"{where}: [{', '.join(lists)}]}}" for where in ("training: {seed", "wandb: {tags", "model: {conv_layers")]
    pipelines = sorted((Path(__file__).parents[2] / "pipelines").glob("*.yaml"))
    sound = [yaml.safe_dump(to_plain(Config())).encode(), *(path.read_bytes() for path in pipelines)]
    return [*sound, *(bomb.encode() for bomb in bombs)]


def make_store(cache: Path) -> None:
    """A store of two recordings and a lock that was left, without computing anything."""
    features = FeatureConfig(n_mels=16)
    layout = Layout(10, 16, 4)
    create_store(cache, features, layout)
    shard_path(cache, 0).parent.mkdir(parents=True)
    with shard_path(cache, 0).open("wb") as file:
        writer = ShardWriter(file, layout)
        for value in range(3):
            writer.append(np.full((10, 16), value, np.float16))
        size, crcs = writer.finish()
    rows = [
        CachedRecording(
            *(f"{name}.wav", 9, 9, "ab" * 32, 384_000, 1, 1.0, "assumed", 384_000, 192_000.0, 0.01),
            *(first, count, 10 * count, 0, 0.1, 0.1),
        )
        for name, first, count in (("a", 0, 2), ("b", 2, 1))
    ]
    write_commit(cache, Commit(0, 0, features.fingerprint, size, False, crcs, tuple(rows)))
    resize(cache, 3)
    note = {"csvs": ["../a.csv"], "split_of": {"../a.csv": "train"}, "data_dir": "..", "rejected": {"c.wav": "no"}}
    (cache / LAST_BUILD).write_text(json.dumps(note))
    lock = {"host": socket.gethostname(), "process": 4_000_000, "process_began": 1.5, "since": "2024", "token": "x"}
    (cache / LOCK).write_text(json.dumps(lock))


def open_array(cache: Path) -> None:
    read_array_metadata(cache)
    resize(cache, 7)


def open_store(cache: Path) -> None:
    store = Store(cache)
    for row in store.index.recordings:
        store.read_frames(row)
    assert summarise(store)


def take_lock(cache: Path) -> None:
    with hold(cache):
        pass


STORE_FILES: dict[str, Callable[[Path], object]] = {
    "zarr.json": open_store,
    "instances/zarr.json": open_array,
    "commits/0.json": open_store,
    LAST_BUILD: read_last_build,
    LOCK: take_lock,
}


def store_seeds(folder: Path) -> list[bytes]:
    make_store(folder / "seed.zarr")
    return [(folder / "seed.zarr" / name).read_bytes() for name in STORE_FILES]


def read_store(path: Path) -> None:
    """Put the file in the place of each of a store's, and under a record's digest too; refused if all refuse it."""
    cache, content = path.with_name("features.zarr"), path.read_bytes()
    if not cache.exists():
        make_store(cache)
    refused = []
    for name, use in STORE_FILES.items():
        before = (cache / name).read_bytes()
        for text in (content, sealed(content)) if "commits" in name else (content,):
            (cache / name).write_bytes(text)
            try:
                use(cache)
            except BatcacheError as error:
                refused.append(error)
                assert "\n" not in str(error) and len(str(error)) < 2000, name
        (cache / name).write_bytes(before)
    if len(refused) == len(STORE_FILES) + 1:
        raise refused[0]


def sealed(record: bytes) -> bytes:
    """What follows a record's first line, with its digest."""
    body = record.partition(b"\n")[2]
    return b'{"digest":"%s",\n' % hashlib.sha256(body).hexdigest().encode() + body


def read_audio(path: Path) -> None:
    header = read_header(path)
    metadata = read_metadata(path, header)
    assert content_hash(path, header)
    doubt_length(header, metadata, find_expansion(path, header, metadata, None).factor)
    levels = Levels()
    assert sum(map(len, read_blocks(path, header, 1 << 16, levels))) == header.samples
    assert "\n" not in f"{levels.warning}{header.warning}{metadata.unread}"


def read_csv(path: Path) -> None:
    for allow in (False, True):
        clips = read_manifest([path], allow_outside=allow).clips
        assert allow or not any(c.filename.startswith(("/", "../")) or c.filename == ".." for c in clips)


def read_yaml(path: Path) -> None:
    load_config(path)


def mutate(rng: np.random.Generator, content: bytes, others: Sequence[bytes], scraps: Sequence[bytes]) -> bytes:
    """Break a file in one to four places, most of them near its start or end, where its headers are."""
    broken = bytearray(content)
    for _ in range(rng.integers(1, 5)):
        size = len(broken)
        region = rng.choice([min(size, 120), min(size, 800), size])
        at = int(rng.integers(0, region + 1)) if rng.random() < 0.7 else size - int(rng.integers(0, region + 1))
        span = int(rng.integers(1, 64))
        match rng.integers(0, 8):
            case 0:
                broken[at : at + 1] = bytes([rng.integers(0, 256)])
            case 1:
                width, number = int(rng.choice([2, 4, 8])), int(rng.choice(NUMBERS))
                order = "little" if rng.random() < 0.8 else "big"
                broken[at : at + width] = (number % (1 << 8 * width)).to_bytes(width, order)  # type: ignore[arg-type]
            case 2:
                del broken[at : at + span]
            case 3:
                broken[at:at] = broken[at : at + span] * int(rng.choice([1, 3, 200]))
            case 4:
                broken[at:at] = rng.bytes(span)
            case 5:
                del broken[at:]
            case 6:
                scrap = scraps[rng.integers(0, len(scraps))]
                broken[at : at + len(scrap) * int(rng.integers(0, 2))] = scrap
            case 7:
                other = others[rng.integers(0, len(others))]
                broken[at:] = other[int(rng.integers(0, len(other))) :]
    return bytes(broken)


def _stop(*_: object) -> None:
    raise TimeoutError("hangs")


def run(
    reader: Callable[[Path], None], path: Path, seeds: Sequence[bytes], scraps: Sequence[bytes], cases: int, seed: int
) -> dict[str, Any]:
    """Break ``cases`` files. Returns how many were refused, what else was raised by which case, and the slowest."""
    path.write_bytes(seeds[0])
    reader(path)  # now all is imported that ever will be
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + ROOM, resource.RLIM_INFINITY))
    signal.signal(signal.SIGALRM, _stop)
    rng = np.random.default_rng(seed)
    refused, slowest, failures = 0, 0.0, []
    for case in range(cases):
        content = mutate(rng, seeds[rng.integers(0, len(seeds))], seeds, scraps)
        path.write_bytes(content)
        signal.setitimer(signal.ITIMER_REAL, HANG_S)
        began = time.process_time()
        try:
            reader(path)
        except BatcacheError as error:
            refused += 1
            if "\n" in str(error) or len(str(error)) > 2000:
                failures.append([case, f"{type(error).__name__}: {str(error)[:300]!r}"])
        except BaseException as error:
            failures.append([case, "".join(traceback.format_exception(error)[-4:])])
        took = time.process_time() - began
        signal.setitimer(signal.ITIMER_REAL, 0)
        slowest = max(slowest, took)
        if took > LONGEST_S:
            failures.append([case, f"took {took:.1f} s"])
        if failures and failures[-1][0] == case:
            path.with_name(f"{path.name}-{seed}-{case}").write_bytes(content)
    return {"cases": cases, "refused": refused, "slowest_s": slowest, "failures": failures}


def main(kind: str, cases: str, seed: str, folder: str, real: str = "") -> None:
    bats = Path(real) if real else None
    match kind:
        case "audio":
            outcome = run(
                read_audio, Path(folder) / "a.wav", audio_seeds(Path(folder), bats), SCRAPS, int(cases), int(seed)
            )
        case "csv":
            outcome = run(read_csv, Path(folder) / "a.csv", csv_seeds(bats), TEXT_SCRAPS, int(cases), int(seed))
        case "store":
            outcome = run(
                read_store, Path(folder) / "part", store_seeds(Path(folder)), TEXT_SCRAPS, int(cases), int(seed)
            )
        case _:
            outcome = run(read_yaml, Path(folder) / "a.yaml", yaml_seeds(), TEXT_SCRAPS, int(cases), int(seed))
    sys.stdout.write(json.dumps(outcome))


if __name__ == "__main__":
    main(*sys.argv[1:])
