"""What a user is told: errors in one line, wrong usage, and help with examples."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from batcache.cli import main as command_line
from batcache.cli.tables import describe
from batcache.training.events import TimeLeft
from tests.command import ROOT, batcache


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["build"], "--csv: no CSV is given"),
        (["build", "--csv", "none.csv"], "none.csv"),
        (["build", "--csv", "train.csv", "--config", "none.yaml"], "none.yaml"),
        (["train"], "features.zarr: no cache here"),
        (["sweep", "--over", "training.seed=0", "--out", "sweep"], "features.zarr: no cache here"),
        (["eval"], "runs: no run with a best model here"),
        (["eval", "--checkpoint", "train.csv"], "not a run's record"),
        (["info", "wav"], "wav: not empty, and no batcache store"),
        (["train", "--resume", "runs/none"], "runs/none: no such run"),
        (["show", "features.zarr", "-o", "a.png"], "features.zarr: no such cache or run"),
        (["compare", "runs/one", "runs/other"], "runs/one: test has not been judged (there is: nothing)"),
        (["report", "runs/none"], "runs/none: no such run"),
        (["synth", "none.csv"], "none.csv"),
        (["synth", "train.csv"], "the simulator does not know Forty-five, Sixty. It knows: Barbastella"),
        (["synth", "--clips", "5", "--species", "Canis lupus"], "does not know Canis lupus. It knows: Barbastella"),
        (["synth", "--clips", "5", "--species", "Myotis myots"], "Did you mean Myotis myotis? It knows: Barbastella"),
        (["synth", "--clips", "5", "--out", "train.csv/below"], "train.csv"),
    ],
)
def test_an_error_is_one_line_and_exit_code_1(project: Path, arguments: list[str], said: str) -> None:
    outcome = batcache(*arguments, cwd=project)
    assert outcome.returncode == 1
    assert outcome.stderr.startswith("error: ") and said in outcome.stderr, outcome.stderr
    assert len(outcome.stderr.splitlines()) == 1 and "Traceback" not in outcome.stderr


def test_a_name_that_the_output_cannot_write_is_shown_escaped(tmp_path: Path) -> None:
    """As on Windows, where a file gets cp1252."""
    (tmp_path / "night.csv").write_text("filename,Myotis\nŁąka/0412.wav,1\n", encoding="utf-8")
    command = [sys.executable, "-c", "from batcache.cli.main import main; main()", "build", "--csv", "night.csv"]
    environment = os.environ | {"PYTHONIOENCODING": "cp1252", "PYTHONUTF8": "0"}
    outcome = subprocess.run(command, cwd=tmp_path, capture_output=True, env=environment, timeout=300, check=False)
    assert outcome.returncode == 1 and b"Traceback" not in outcome.stderr, outcome.stderr.decode("cp1252")
    assert rb"\u0141\u0105ka/0412.wav" in outcome.stdout


@pytest.mark.parametrize("pressed", [True, False])
def test_a_ctrl_c_that_a_library_makes_an_error_of_its_own_is_one(
    pressed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As pydantic's compiled core does; an error without a Ctrl-C before it stays what it is."""

    def app(prog_name: str) -> None:
        try:
            if pressed:
                signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            pass
        raise RuntimeError("Error building `literal` serializer: KeyboardInterrupt:")

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    monkeypatch.setattr("batcache.cli.app.app", app)
    try:
        with pytest.raises(SystemExit if pressed else RuntimeError) as ended:
            command_line.main()
    finally:
        signal.signal(signal.SIGINT, before)
    assert getattr(ended.value, "code", None) == (130 if pressed else None)


def test_wrong_usage_is_exit_code_2(project: Path) -> None:
    assert batcache("train", "--pooling", "median", cwd=project).returncode == 2
    assert batcache("fly", cwd=project).returncode == 2
    assert batcache("synth", cwd=project).returncode == 2
    assert batcache("synth", "train.csv", "--clips", "5", cwd=project).returncode == 2
    assert batcache("synth", "--clips", "4", cwd=project).returncode == 2
    assert batcache("show", "features.zarr", cwd=project).returncode == 2, "without -o"
    drawn = batcache("show", "features.zarr", "-o", "page.jpg", cwd=project)
    assert drawn.returncode == 2 and "page.jpg: expected a name that ends in .png, .pdf, .svg" in drawn.stderr
    assert batcache("build", "--device", "tpu", cwd=project).returncode == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ["build", "--from", "none.h5", "--dry-run"],
        ["build", "--from", "none.h5", "--rehash"],
        ["build", "--from", "none.h5", "--allow-outside"],
        ["build", "--from", "none.h5", "--device", "auto"],
        ["build", "--from", "none.h5", "--csv", "train.csv"],
        ["train", "--resume", "runs/none", "--seed", "3"],
        ["eval", "--checkpoint", "none.pt", "--run-dir", "runs"],
        ["show", ".", "-o", "none.png", "--split", "test"],
        ["synth", "none.csv", "--seed", "0"],
        ["synth", "none.csv", "--species", "Myotis myotis"],
        ["bench", "--data-dir", "."],
        ["verify", "none.zarr", "--sample", "16"],
        ["verify", "none.zarr", "--repair", "--seed", "0"],
        ["verify", "none.zarr", "--data-dir", "."],
        ["prune", "none.zarr", "--data-dir", "."],
    ],
    ids=" ".join,
)
def test_an_option_that_would_be_ignored_is_refused_even_at_its_default(tmp_path: Path, arguments: list[str]) -> None:
    outcome = batcache(*arguments, cwd=tmp_path)
    option = next(word for word in reversed(arguments) if word.startswith("--"))
    assert outcome.returncode == 2 and option in outcome.stderr, outcome.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "command",
    [
        "build",
        "train",
        "split",
        "eval",
        "run",
        "sweep",
        "predict",
        "show",
        "synth",
        "bench",
        "info",
        "export",
        "verify",
        "prune",
    ],
)
def test_every_help_has_an_example(command: str, tmp_path: Path) -> None:
    shown = batcache(command, "--help", cwd=tmp_path)
    assert shown.returncode == 0 and f"Example: batcache {command}" in " ".join(shown.stdout.split())


@pytest.mark.parametrize("command", [[], ["train"], ["info"]], ids=" ".join)
def test_h_is_help(command: list[str], tmp_path: Path) -> None:
    short, long = (batcache(*command, flag, cwd=tmp_path) for flag in ("-h", "--help"))
    assert short.returncode == 0 and short.stdout == long.stdout and "Usage: batcache" in short.stdout


def test_batcache_alone_shows_the_commands_of_a_day_and_where_the_others_are(tmp_path: Path) -> None:
    shown = batcache(cwd=tmp_path)
    assert shown.returncode == 0 and shown.stderr == ""
    assert re.findall(r"^ {4}batcache (\w+)", shown.stdout, re.MULTILINE) == ["build", "train", "eval", "predict"]
    assert "batcache --help" in shown.stdout and len(shown.stdout.splitlines()) < 10


def test_shells_complete_commands_and_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "--install-completion" in batcache("--help", cwd=tmp_path).stdout
    monkeypatch.setenv("_BATCACHE_COMPLETE", "complete_bash")
    for words, expected in (("batcache tr", "train"), ("batcache train --pool", "--pooling")):
        monkeypatch.setenv("COMP_WORDS", words)
        monkeypatch.setenv("COMP_CWORD", str(words.count(" ")))
        assert batcache(cwd=tmp_path).stdout.split() == [expected]


@pytest.mark.parametrize(
    ("seconds", "epochs", "said"),
    [(50, 3, []), (600, 3, ["about 10 minutes for 3 epochs"]), (9000, 1, ["about 2.5 hours for 1 epoch"])],
)
def test_how_long_a_training_will_take_is_said_where_that_is_long(seconds: float, epochs: int, said: list[str]) -> None:
    assert describe(TimeLeft(seconds, epochs, may_stop_early=False)) == said
    assert describe(TimeLeft(seconds, epochs, may_stop_early=True)) == [
        f"{line}; less, if it stops early" for line in said
    ]


def test_help_says_what_is_taken_where_an_option_is_not_given(tmp_path: Path) -> None:
    """A judged run keeps its own places; training takes a cache of the usual name."""

    def defaults(command: str) -> dict[str, str]:
        shown = " ".join(batcache(command, "--help", cwd=tmp_path).stdout.split())
        parts = re.split(r" (--[a-z-]+) ", shown.split("Options:")[1])
        texts = [re.sub(r".*\[default: (.*)\].*", r"\1", text) for text in parts[2::2]]
        return dict(zip(parts[1::2], texts, strict=True))

    judging, training = defaults("eval"), defaults("train")
    assert judging["--cache"] == judging["--csv"] == "the run's" and training["--cache"] == "features.zarr"
    assert judging["--endpoint"] == defaults("show")["--endpoint"] == "the run's, else AWS"
    assert training["--endpoint"] == "AWS"


@pytest.mark.parametrize("command", ["verify", "info", "prune"])
def test_usage_shows_a_cache_that_may_be_left_out_in_one_pair_of_brackets(command: str, tmp_path: Path) -> None:
    assert batcache(command, "--help", cwd=tmp_path).stdout.splitlines()[0].endswith("[OPTIONS] [CACHE]")


@pytest.mark.parametrize(
    ("raised", "said", "code"),
    [
        ("KeyboardInterrupt", "stopped: run the same command again to go on", 130),
        ("MemoryError", "error: memory: there is not enough", 1),
        ("ImportError('libx.so: failed to map segment from shared object')", "error: memory: there is not enough", 1),
        ("RuntimeError('CUDA out of memory. Tried to allocate 2.00 GiB')", "error: memory: there is not enough", 1),
        ("OSError(24, 'Too many open files', 'typer.py')", "error: typer.py: Too many open files. Too many files", 1),
    ],
)
def test_what_goes_wrong_while_the_command_line_is_imported_is_one_line(raised: str, said: str, code: int) -> None:
    """Ctrl-C, and a system without memory or handles, meet a command that has only begun."""
    ended = _begin_while_typer_raises(raised)
    assert ended.returncode == code
    assert ended.stderr.startswith(said) and ended.stderr.count("\n") == 1


def test_a_mistake_of_ours_that_speaks_of_memory_is_not_told_as_want_of_it() -> None:
    ended = _begin_while_typer_raises("RuntimeError('input and output refer to a single memory location')")
    assert "Traceback" in ended.stderr and "ulimit" not in ended.stderr


def _begin_while_typer_raises(raised: str) -> "subprocess.CompletedProcess[str]":
    program = (
        "import sys\n"
        "class Refuse:\n"
        "    def find_spec(self, name, path, target=None):\n"
        f"        if name == 'typer': raise {raised}\n"
        "sys.meta_path.insert(0, Refuse())\n"
        "from batcache.cli.main import main\n"
        "main()\n"
    )
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=ROOT)
