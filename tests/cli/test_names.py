"""What names hold never rules a terminal, and never makes a line that looks like one of ours."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

from batcache.errors import ManifestError, visible
from tests.command import batcache
from tests.conftest import noise

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows knows no such names of files")

EVIL = {
    "clear": "\x1b[2J\x1b[31mred",
    "title": "\x1b]0;owned\x07",
    "C1": "\x9b31m\x85",
    "line": "a\nerror: all is lost",
    "return": "a\rnote: fine",
    "back": "abc\x08\x08\x7f",
    "turned": "\u202egnp.wav\u202c",
    "hidden": "a\u200bb\u2066c\u2028d\ufeff",
    "markup": "[red]a[/red] [/] [bold",
}
RAW = {chr(code) for code in (*range(0x20), *range(0x7F, 0xA0))} - {"\n"} | set("\u202e\u202c\u200b\u2066\u2028\ufeff")
OURS = {"\x1b", "\r", "\t"}
"""What rich itself writes to a terminal."""


@pytest.mark.parametrize("kind", EVIL)
def test_a_name_shows_in_one_line_and_commands_nothing(kind):
    shown = visible(EVIL[kind])
    assert not RAW & set(shown) and "\n" not in shown
    assert visible("Wei\u00dfrand 蝙蝠 \U0001f987 \u0627") == "Wei\u00dfrand 蝙蝠 \U0001f987 \u0627"
    assert visible(EVIL["markup"]) == EVIL["markup"]
    error = ManifestError(EVIL[kind], EVIL[kind], EVIL[kind])
    assert not RAW & set(str(error)) and len(str(error).splitlines()) == 1
    assert not RAW & set(error.reason) and error.reason.count(shown) == 2


def rows_of(names: list[str], cells: str = "1,0") -> str:
    return "".join('"' + name.replace('"', '""') + f'",{cells}\n' for name in names)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recordings and broken files of such names, tables that list them, settings that hold them."""
    home = tmp_path_factory.mktemp("names")
    (home / "night").mkdir()
    names = []
    for i, name in enumerate(EVIL.values()):
        good, bad = (
            f"night/{name}{i}.wav".replace("[/", "[").replace("] [/]", "]"),
            f"night/bad {name}{i}.wav".replace("[/", "["),
        )
        (home / good).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(home / good, noise(0.1, 256_000, seed=i), 256_000)
        (home / bad).write_bytes(b"nothing")
        names += [good, bad, f"missing {name}"]
    (home / "all.csv").write_text("filename,Bat,[red]Other[/red]\n" + rows_of(names), encoding="utf-8")
    whole = "".join(EVIL.values())
    (home / "cell.csv").write_text("filename,Bat\n" + rows_of(["a.wav"], '"' + whole.replace("\n", " ") + '"'))
    (home / "header.csv").write_text(f'filename,"{whole}"\n"a.wav",1\n', encoding="utf-8")
    (home / "twice.csv").write_text("filename,Bat\n" + rows_of([names[0], names[0]]).replace("1,0", "1"))
    (home / "key.yaml").write_text('data: {"\\e[2J\\n\\u202e": 1}\n')
    (home / "value.yaml").write_text(
        'training: {run_dir: "runs\\e[2J\\nerror: x"}\nmodel: {pooling_type: "\\e[31m\\n"}\n'
    )
    (home / "broken.yaml").write_bytes(b"data: {\x1b[2J\n")
    (home / EVIL["clear"]).mkdir()
    return home


COMMANDS = {
    "build": ["build", "--csv", "all.csv", "--device", "cpu"],
    "dry run": ["build", "--csv", "all.csv", "--dry-run", "--cache", "none.zarr"],
    "cell": ["build", "--csv", "cell.csv"],
    "header": ["build", "--csv", "header.csv"],
    "twice": ["build", "--csv", "twice.csv"],
    "key": ["build", "--csv", "all.csv", "--config", "key.yaml"],
    "value": ["train", "--config", "value.yaml"],
    "not yaml": ["train", "--config", "broken.yaml"],
    "option": ["build", "--" + EVIL["clear"] + EVIL["line"]],
    "choice": ["train", "--pooling", EVIL["clear"] + EVIL["turned"]],
    "command": [EVIL["clear"] + EVIL["line"]],
    "argument": ["synth", "a", EVIL["title"] + EVIL["line"]],
    "info": ["info", EVIL["title"] + EVIL["line"]],
    "store": ["info", "features.zarr"],
    "verify": ["verify", EVIL["clear"]],
    "predict": ["predict", "night", "--model", EVIL["line"]],
    "show": ["show", EVIL["turned"], "-o", "a.png"],
    "output": ["show", "features.zarr", "-o", EVIL["clear"] + "\n.xyz"],
    "species": ["synth", "--clips", "5", "--species", EVIL["title"] + EVIL["line"]],
    "eval": ["eval", "--split", EVIL["clear"] + EVIL["line"]],
    "sweep": ["sweep", "--over", EVIL["clear"] + "=1", "--out", "sweep"],
    "split": ["split", "all.csv", "-o", EVIL["line"] + ".csv"],
    "s3": ["info", "s3://" + EVIL["clear"] + EVIL["line"]],
    "report": ["report", EVIL["back"]],
    "compare": ["compare", EVIL["clear"], EVIL["line"]],
    "resume": ["train", "--resume", EVIL["return"]],
}


def assert_harmless(text: str, allowed: set[str] = frozenset()) -> None:
    assert not (RAW - allowed) & set(text), ascii(text)
    lines = text.replace("\r", "").splitlines()
    assert not any(line.startswith(("error: all is lost", "note: fine")) for line in lines), ascii(text)
    assert "Traceback" not in text


@pytest.mark.parametrize("command", COMMANDS)
def test_nothing_that_a_command_writes_into_a_file_or_pipe_holds_what_names_would_do(folder, command):
    outcome = batcache(*COMMANDS[command], cwd=folder)
    assert_harmless(outcome.stdout)
    assert_harmless(outcome.stderr)
    assert outcome.stdout or outcome.stderr


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_nothing_on_a_terminal_obeys_a_name(folder, command):
    """There rich writes escape sequences of its own: none that a name holds is among them."""
    main = "from batcache.cli.main import main; main()"
    reading, writing = pty.openpty()
    arguments = [sys.executable, "-c", main, *COMMANDS[command]]
    with subprocess.Popen(
        arguments, cwd=folder, stdin=subprocess.DEVNULL, stdout=writing, stderr=writing,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "100", "PYTHONUTF8": "1"},
    ) as process:  # fmt: skip
        os.close(writing)
        written = b""
        while True:
            try:
                part = os.read(reading, 1 << 16)
            except OSError:  # so Linux tells the end
                break
            if not part:
                break
            written += part
        process.wait()
    os.close(reading)
    text = written.decode()
    assert_harmless(text, OURS)
    for sequence in ("\x1b[2J", "\x1b]0;", "\x1b[31mred"):
        assert sequence not in text
