"""Reports on stores and recordings, as tables, notes and lines."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from batcache.cli.terminal import Block, Note, Table
from batcache.errors import count, list_some
from batcache.manifest.call_range import WIDER

if TYPE_CHECKING:  # a build with nothing to do imports no torch
    from batcache.store.build.plan import Plan
    from batcache.store.build.report import BuildReport
    from batcache.store.hdf5.export import Exported
    from batcache.store.hdf5.restore import Restored
    from batcache.store.upkeep.prune import PruneReport
    from batcache.store.upkeep.record_checks import Damage
    from batcache.store.upkeep.repair import RepairReport
    from batcache.store.upkeep.verify import VerifyReport
    from batcache.synth.create import SynthReport


def of_plan(plan: "Plan") -> Iterator[Block]:
    """How many recordings are new, changed or there, and what there is to compute."""
    counts = {
        "to compute": plan.count("build"),
        "changed, to compute again": plan.count("stale"),
        "up to date": plan.count("keep"),
        "duplicates": plan.count("duplicate"),
        "rejected": plan.count("rejected"),
    }
    yield "recordings: " + ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)
    if plan.tasks:
        work = f"{plan.audio_s / 3600:,.2f} h of audio to compute, {plan.bytes_to_write / 1e9:,.2f} GB to write"
        free = "" if plan.free_bytes is None else f", {(plan.free_bytes + plan.leftover_bytes) / 1e9:,.1f} GB free"
        yield work + free


def of_decisions(plan: "Plan") -> list[Block]:
    """A line for each recording: what is done with it, and why."""
    return [f"{action:<9}  {path}  ({reason})" for path, (action, reason) in plan.decisions.items()]


def of_build(report: "BuildReport") -> Iterator[Block]:
    """What a build did, and what to know of its recordings."""
    data = report.config
    rows = [
        ("computed now", f"{report.computed:,}"),
        ("already there", f"{report.kept:,}"),
        ("of them in the cache", f"{report.recordings:,} ({report.audio_s / 3600:.2f} h)"),
        ("instances", f"{report.instances:,} of {data.instance_s:g} s"),
        ("rejected", f"{len(report.rejected):,}"),
        ("took", f"{report.seconds:.1f} s"),
    ]
    if report.duplicates:
        rows.insert(2, ("duplicates, computed once", f"{report.duplicates:,}"))
    if report.off_rate:
        rows.insert(4, (f"true rate is not {data.sample_rate:,} Hz", f"{report.off_rate:,}"))
    if report.low_nyquist:
        rows.insert(4, ("rate too low for the upper mel bands", f"{report.low_nyquist:,}"))
    yield Table(f"{report.cache}", rows)
    yield from _notes_of_build(report)
    if report.rejected:
        yield Table("rejected", [(name, reason) for name, reason in list(report.rejected.items())[:20]])
        yield Note(
            f"{count(len(report.rejected), 'recording')} rejected, listed in {report.rejected_list}; "
            "the rest is built; each build tries them again"
        )


def _notes_of_build(report: "BuildReport") -> Iterator[Note]:
    data = report.config
    if report.multichannel:
        yield Note(
            f"of {count(len(report.multichannel), 'recording')} with several channels, one is used, the first where no "
            f"channel column says another: {list_some(report.multichannel)}"
        )
    if report.channels:
        yield Note(
            f"another channel may be the one to use in {count(len(report.channels), 'recording')}: "
            f"{list_some(f'{path} ({why})' for path, why in report.channels.items())}. Say it in a channel column"
        )
    if report.constant:
        yield Note(
            f"holds nothing but one value, {count(len(report.constant), 'recording')}: {list_some(report.constant)}. "
            "So does what a microphone that was off recorded"
        )
    if report.headers:
        yield Note(
            f"headers contradict themselves or the file in {count(len(report.headers), 'recording')}: "
            f"{list_some(f'{path} ({what})' for path, what in report.headers.items())}"
        )
    if report.doubtful:
        yield Note(
            f"the time expansion of {count(len(report.doubtful), 'recording')} is doubtful: "
            f"{list_some(f'{path} ({doubt})' for path, doubt in report.doubtful.items())}. "
            "Give it in a time_expansion column, 1 where there is none, and build again"
        )
    if report.unread:
        yield Note(
            f"the metadata of {count(len(report.unread), 'recording')} could not all be read: "
            f"{list_some(f'{path} ({what})' for path, what in report.unread.items())}"
        )
    if report.overscale:
        yield Note(
            f"float samples go beyond full scale in {count(len(report.overscale), 'recording')}: "
            f"{list_some(f'{path} (up to {peak:,g})' for path, peak in report.overscale.items())}. They are taken as "
            "they are; where other recordings end at 1, export these anew in -1..1"
        )
    outside = len(report.outside_below) + len(report.outside_above)
    if outside > 0.05 * report.recordings:
        parts = [
            f"{len(paths)} {where}: {list_some(paths)}"
            for where, paths in (
                (f"above {data.fmax / 1000:g} kHz (horseshoe bats? {WIDER})", report.outside_above),
                (f"below {data.fmin / 1000:g} kHz (wind, handling, insects: harmless)", report.outside_below),
            )
            if paths
        ]
        yield Note(
            f"most energy lies outside the mel bands in {outside:,} of {count(report.recordings, 'recording')}; "
            + "; ".join(parts)
        )


def of_verification(report: "VerifyReport") -> Iterator[Block]:
    """What was checked, and every damage."""
    rows = [
        ("shards", f"{report.shards:,}"),
        ("instances", f"{report.instances:,}"),
        ("read", f"{report.bytes / 1e6:,.1f} MB"),
        ("took", f"{report.seconds:.1f} s"),
        ("damages", f"{len(report.damages):,}"),
    ]
    if report.exact or report.rounded or report.not_comparable:
        rows[3:3] = [
            ("computed anew, equal bit by bit", f"{len(report.exact):,}"),
            ("computed anew, equal but for rounding", f"{len(report.rounded):,}"),
            ("not comparable", f"{len(report.not_comparable):,}"),
        ]
    yield Table(f"{report.cache}", rows)
    yield from _of_damages(report.damages)
    if report.not_comparable:
        yield Table("not comparable", list(report.not_comparable.items()), ("recording", "why"))


def _of_damages(damages: "Sequence[Damage]") -> Iterator[Block]:
    if damages:
        rows = [
            (one.place, ", ".join(one.recordings), _spans(one.instances), one.finding, one.remedy) for one in damages
        ]
        yield Table("damages", rows, ("file", "recordings", "instances", "finding", "remedy"))


def _spans(numbers: Sequence[int]) -> str:
    """Ascending numbers, runs of them as ``2-5``."""
    runs = groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0])
    ends = [[number for _, number in run] for _, run in runs]
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in ends)


def of_repair(report: "RepairReport") -> Iterator[Block]:
    """What was mended, and what could not be."""
    yield Table(
        "repair",
        [
            ("shards written again", f"{report.shards:,}"),
            ("recordings computed again", f"{len(report.recomputed):,}"),
            ("records withdrawn", f"{report.withdrawn:,}"),
            ("damages left", f"{len(report.left):,}"),
            ("took", f"{report.seconds:.1f} s"),
        ],
    )
    if report.impossible:
        yield Table("could not be repaired", list(report.impossible.items()), ("", "why"))
        if any(not name.startswith("commits/") for name in report.impossible):
            yield Note(
                "bring those files back and repair again; or list them no more: `batcache prune --csv` with such a CSV"
            )
    yield from _of_damages(report.left)


def of_prune(report: "PruneReport") -> Iterator[Block]:
    """How much space was given back."""
    would = "would be " if report.dry_run else ""
    plan = report.plan
    rows = [
        ("recordings kept", f"{report.recordings:,}"),
        (f"recordings {would}dropped", f"{len(plan.dropped):,}"),
        (f"instances {would}freed", f"{report.instances_freed:,}"),
        (f"shards {would}removed", f"{len(plan.dead) + len(plan.emptied):,}"),
        (f"shards {would}written", f"{len(plan.moves):,}"),
        ("before", f"{report.bytes_before / 1e6:,.1f} MB"),
        ("after", f"{report.bytes_after / 1e6:,.1f} MB"),
        ("took", f"{report.seconds:.1f} s"),
    ]
    yield Table(f"{report.cache}", rows)
    if report.note:
        yield Note(report.note)


def of_restored(report: "Restored") -> Iterator[Block]:
    """What was made of an exported file."""
    yield f"restored: {count(report.recordings, 'recording')}, {count(report.instances, 'instance')} in {report.cache}"


def of_exported(report: "Exported") -> Iterator[Block]:
    """What was written into a file."""
    yield f"exported: {count(report.recordings, 'recording')}, {count(report.instances, 'instance')} to {report.path}"


def of_synth(report: "SynthReport") -> Iterator[Block]:
    """What was simulated."""
    written = f"{report.written:,} written, {report.kept:,} there already"
    calls = f"{count(report.calls, 'call')} in {report.out / 'events.csv'}"
    yield f"simulated: {count(report.clips, 'clip')} in {report.out}, {written}; {calls}"
