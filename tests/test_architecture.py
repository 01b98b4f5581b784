"""The arrows of the design, held: which room may import which, and who alone may print, exit and meet wandb."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import batcache

PACKAGE = Path(__file__).parents[1] / "batcache"
MODULES = sorted(PACKAGE.rglob("*.py"))
GROUND = {"__init__", "children", "cluster", "errors", "device", "progress"}
"""Modules that every room may import."""
BASEMENT = {"storage": set(), "config": {"storage"}, "manifest": {"storage"}}
MAY_IMPORT = {room: set(below) for room, below in BASEMENT.items()} | {
    room: {*BASEMENT, *below}
    for room, below in {
        "features": set(),
        "species": set(),
        "store": {"features"},
        "model": set(),
        "inference": {"features", "store", "model"},
        "synth": set(),
        "catalogue": {"features", "species", "store"},
        "training": {"features", "species", "store", "model", "inference", "synth"},
        "evaluation": {"features", "store", "model", "inference", "training", "synth"},
        "survey": {"features", "species", "store", "model", "inference", "training", "evaluation"},
        "reviewing": {"features", "species", "store", "inference", "training", "evaluation", "survey"},
        "bench": {"features", "store", "model", "inference", "training", "evaluation", "synth"},
        "pipeline": {"features", "store", "model", "inference", "training", "evaluation", "synth"},
        "face": {
            "catalogue",
            "features",
            "store",
            "model",
            "inference",
            "training",
            "evaluation",
            "survey",
            "reviewing",
            "synth",
        },
    }.items()
}
COMMAND_LINE = "cli"
OUTERMOST = {"__init__": "face", "__main__": COMMAND_LINE}
"""What ``import batcache`` and ``python -m batcache`` import."""
EVERYTHING_HEAVY = (
    "numba",
    "torch",
    "torchaudio",
    "nnAudio",
    "zarr",
    "h5py",
    "wandb",
    "sklearn",
    "librosa",
    "pandas",
    "scipy",
    "matplotlib",
)


def name_of(module: Path) -> str:
    """``store/plan.py`` is ``store.plan``."""
    return ".".join(module.relative_to(PACKAGE).with_suffix("").parts)


def room_of(name: str) -> str:
    return name.split(".", maxsplit=1)[0]


@cache
def tree_of(module: Path) -> ast.Module:
    return ast.parse(module.read_text(encoding="utf-8"))


def imports_of(module: Path) -> Iterator[str]:
    """All that a module imports, also late or for types only: ``torch.nn``, ``batcache.store.plan``."""
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(module)} line {node.lineno}: a relative import"
            if node.module == "batcache":
                yield from (f"batcache.{alias.name}" for alias in node.names)
            else:
                yield str(node.module)


def rooms_imported_by(module: Path) -> set[str]:
    return {room_of(name.removeprefix("batcache.")) for name in imports_of(module) if name.startswith("batcache.")}


def modules_importing(package: str) -> set[str]:
    return {name_of(m) for m in MODULES if any(name.split(".")[0] == package for name in imports_of(m))}


def test_every_module_has_its_place() -> None:
    """A new room states its arrows here first."""
    assert {room_of(name_of(module)) for module in MODULES} - GROUND - {COMMAND_LINE, "__main__"} <= set(MAY_IMPORT)


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_arrows_point_one_way(module: Path) -> None:
    """The command line may import every room, and nothing imports it."""
    room = room_of(name_of(module))
    below = {*MAY_IMPORT, COMMAND_LINE} if room == COMMAND_LINE else {room, *MAY_IMPORT.get(room, set())}
    if room in OUTERMOST:
        below = {OUTERMOST[room]}
    assert rooms_imported_by(module) <= GROUND | below


def test_only_the_store_knows_zarr_and_hdf5() -> None:
    """The benchmark reads by it too, as a peer."""
    assert {room_of(name) for name in modules_importing("zarr")} <= {"store", "bench"}
    assert {room_of(name) for name in modules_importing("h5py")} <= {"store", "bench"}


def test_only_tracking_knows_wandb() -> None:
    assert modules_importing("wandb") == {"training.tracking"}


def test_only_its_room_knows_onnx() -> None:
    known = modules_importing("onnx") | modules_importing("onnxruntime")
    assert {name.rpartition(".")[0] for name in known} == {"inference.onnx"}


def test_only_their_modules_know_soundevent_and_astral() -> None:
    assert modules_importing("soundevent") == {"catalogue.labels.aoef", "survey.formats.aoef"}
    assert modules_importing("astral") == {"survey.sunset"}


def test_only_the_command_line_knows_typer_and_rich() -> None:
    assert {room_of(name) for name in modules_importing("typer")} == {"cli"}
    assert modules_importing("rich") == {"cli.terminal"}


@pytest.mark.parametrize("module", [m for m in MODULES if room_of(name_of(m)) != COMMAND_LINE], ids=name_of)
def test_only_the_command_line_prints_and_exits(module: Path) -> None:
    forbidden_names = {"print", "input", "exit", "quit", "SystemExit"}
    forbidden_attributes = {("sys", "exit"), ("os", "_exit"), ("sys", "stdout"), ("sys", "stderr"), ("typer", "echo")}
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.Name):
            assert node.id not in forbidden_names, f"line {node.lineno}"
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if (name_of(module), node.attr) == ("children", "_exit"):
                continue  # of a process whose parent is gone, and with it all that it worked for
            assert (node.value.id, node.attr) not in forbidden_attributes, f"line {node.lineno}"


def run_python(code: str) -> str:
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["manifest", "--help"],
        ["audit", "--help"],
        ["build", "--help"],
        ["train", "--help"],
        ["eval", "--help"],
        ["predict", "--help"],
        ["presence", "--help"],
        ["review", "--help"],
        ["convert", "--help"],
        ["survey", "--help"],
    ],
)
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    loaded = run_python(
        f"import sys\nsys.argv = ['batcache', *{arguments}]\nfrom batcache.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        f"print('loaded:', *[name for name in {EVERYTHING_HEAVY} if name in sys.modules])"
    )
    assert "Usage" in loaded
    assert loaded.rstrip().endswith("loaded:")


def test_the_version_is_that_of_the_installed_package_and_needs_nothing_heavy() -> None:
    shown = run_python(
        "import sys\nsys.argv = ['batcache', '--version']\nfrom batcache.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        f"print([name for name in {EVERYTHING_HEAVY} if name in sys.modules])"
    )
    assert shown.splitlines() == [f"batcache {batcache.__version__}", "[]"]


def test_importing_the_command_line_imports_nothing_heavy() -> None:
    assert run_python(
        f"import sys, batcache.cli.main\nprint([name for name in {EVERYTHING_HEAVY} if name in sys.modules])"
    ).split() == ["[]"]


@pytest.mark.slow
def test_training_imports_wandb_only_where_it_is_enabled() -> None:
    code = "import sys, batcache.training.loop, batcache.evaluation.evaluate\nprint('wandb' in sys.modules)"
    assert run_python(code).split() == ["False"]


SWALLOWING = {"exists", "is_file", "is_dir", "glob", "rglob", "iterdir", "isfile", "isdir"}
MAY_SWALLOW = {"storage.disk", "storage.exclusive", "storage.place", "storage.listing", "storage.s3"}


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_no_room_asks_a_disk_in_a_way_that_takes_its_errors_for_nothing_there(module: Path) -> None:
    """They ask ``storage.listing``. What is in ``storage`` itself decides nothing by it; ``bench`` deletes nothing."""
    if name_of(module) in MAY_SWALLOW or room_of(name_of(module)) == "bench":
        return
    calls = (node.func for node in ast.walk(tree_of(module)) if isinstance(node, ast.Call))
    asked = [call for call in calls if isinstance(call, ast.Attribute) and call.attr in SWALLOWING]
    assert [f"line {call.lineno}: {call.attr}" for call in asked] == []
