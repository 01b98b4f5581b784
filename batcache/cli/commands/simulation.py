"""Commands that simulate and measure: synth, bench."""

import json
from pathlib import Path
from typing import Annotated

import typer

from batcache.cli.options import ConfigPath, Csvs, DataDir, Device, OnDevice, refuse
from batcache.cli.progress import show_progress
from batcache.cli.tables import describe
from batcache.cli.terminal import say_lines, show


def synth(
    context: typer.Context,
    manifest: Annotated[
        Path | None, typer.Argument(metavar="MANIFEST", help="The clips to render.", show_default=False)
    ] = None,
    out: Annotated[Path, typer.Option(help="Where the recordings go.")] = Path("simulated"),
    clips: Annotated[
        int | None, typer.Option(min=5, help="Make up a manifest of so many clips.", show_default=False)
    ] = None,
    species: Annotated[
        list[str] | None, typer.Option(help="With --clips: only these; may be repeated.", show_default=False)
    ] = None,
    virtual: Annotated[
        int, typer.Option(min=0, max=10_000, help="With --clips: so many species besides that do not exist.")
    ] = 0,
    seed: Annotated[int, typer.Option(min=0, help="With --clips: decides who flies where.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Overwrite files of other content.")] = False,
) -> None:
    """Simulate bat recordings with known calls: 5 s, 384 kHz, 16 bit, and events.csv with every call.

    Renders exactly the rows of a manifest, or with --clips a new one, written to manifest.csv.

    Example: batcache synth data_manifest.csv --out simulated
    """
    if (manifest is None) == (clips is None):
        raise typer.BadParameter("give either a manifest or --clips")
    if clips is not None:
        from batcache.synth.create import write_plan

        manifest = write_plan(out, clips, species or (), seed, force=force, virtual=virtual)
    else:
        refuse(context, ["species", "virtual", "seed"], "goes with --clips")
    assert manifest is not None
    from batcache.manifest.manifest import read_manifest
    from batcache.synth.create import create

    with show_progress() as listener:
        report = create(read_manifest([manifest]), out, force=force, on_progress=listener)
    show(describe(report))


def bench(
    context: typer.Context,
    csv: Csvs = None,
    data_dir: DataDir = None,
    config: ConfigPath = None,
    clips: Annotated[int, typer.Option(min=5, help="Measure so many recordings.")] = 192,
    long_minutes: Annotated[
        float, typer.Option(min=0, help="Length of a simulated recording that memory is measured with; 0: none.")
    ] = 10,
    planned: Annotated[
        int, typer.Option(min=0, help="Plan a rebuild of so many made-up recordings; 0: none.")
    ] = 20_000,
    batdetect2: Annotated[
        Path | None,
        typer.Option(
            metavar="PYTHON",
            help="Measure predict beside BatDetect2: the Python of an environment that has it.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with machine, versions and settings.")] = False,
    device: OnDevice = Device.auto,
) -> None:
    """Measure this machine: features, reading, training, predict, memory, beside what others would use.

    All ratios are of figures taken in turns on the same recordings: some of yours, or simulated ones. The peers are
    installed by pip install 'batcache[bench]', but for BatDetect2, which needs an environment of its own; those that
    are not there are left out, and said so.

    Example: batcache bench --csv train.csv
    """
    from batcache.bench.suite import Effort
    from batcache.bench.suite import bench as measure
    from batcache.store.settings import choose_manifest, load_settings

    settings = load_settings(config, {"data": {"data_dir": data_dir}})
    manifest = choose_manifest(csv or (), settings) if csv or settings.data.csvs else None
    if manifest is None:
        refuse(context, ["data_dir"], "goes with --csv")
    effort = Effort(clips=clips, long_minutes=long_minutes, planned=planned)
    with show_progress((lambda _: []) if as_json else describe) as listener:
        report = measure(manifest, settings, effort, device.value, batdetect2, on_progress=listener)
    if as_json:
        say_lines(json.dumps(report.to_plain(), indent=1))


COMMANDS = (synth, bench)
