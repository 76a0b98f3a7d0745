"""Make the pictures of the documentation again: real runs on the sample arena, in a terminal and in Chromium.

    python docs/images/regenerate.py [--folder DIR]

Needs chromium, chromedriver, selenium and the extra ``serve``; Pillow, where it is there, makes the pictures
small. With ``--folder`` the runs are kept, and a second call takes them from there.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import pty
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "tests" / "helpers"))

from browser import Browser, browser  # noqa: E402
from rich._export_format import CONSOLE_SVG_FORMAT  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.text import Text  # noqa: E402

WIDTH: Final = 110
COLOURS: Final = 96
PROGRAM: Final = (sys.executable, "-m", "arena_ensemble")
# no font is fetched from elsewhere
SVG: Final = re.sub(r"@font-face \{\{.*?\n    \}\}\n", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
FRAME: Final = re.compile(r"(?:\r?\x1b\[2K(?:\x1b\[1A\x1b\[2K)*|\x1b\[\?25[lh])")


def main() -> None:
    """Run everything and write the pictures beside this file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, help="where the runs are kept")
    given = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = given.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        os.chdir(folder)
        terminal()
        window = stack.enter_context(browser())
        pages(window)
    for path in sorted(HERE.glob("*.[ps][nv]g")):
        print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


def terminal() -> None:
    """The end of a run as it was printed, and its bars at work."""
    work = Path("work")
    sample = [f"sample/{name}.csv" for name in ("train", "test", "truth")]
    call("sample", "--out", "sample")
    words = ["submission", "--data", sample[0], "--test", sample[1], "--truth", sample[2]]
    words += ["--workspace", str(work)]
    if not (work / "submission.csv").is_file():
        Path("frames.txt").write_text(typed(words))
    shown = typed(words).partition("out of fold, ")
    end = FRAME.sub("", shown[1] + shown[2])
    save_svg("terminal", f"$ arena-ensemble {' '.join(words)}\n{end}")
    frames = [part for part in FRAME.split(Path("frames.txt").read_text()) if part and "left" in part]
    folds = max(
        (part for part in frames if "all folds" in part and "loss " in part),
        key=lambda part: part.count("\n"),
    )
    stacking = [part for part in frames if part.lstrip("\x1b[0m ").startswith("stacking")]
    bars = [folds, stacking[len(stacking) // 2]] if stacking else [folds]
    save_svg("bars", "\n".join(part.strip("\r\n") for part in bars))


def pages(window: Browser) -> None:
    """The report, light, dark and narrow; a panel's; the server's page."""
    data = ("--data", "sample/train.csv")
    call("report", "--workspace", "work", *data, "--out", "report.html")
    window.open(Path("report.html").resolve())
    shoot(window, "report-light")
    window.open(Path("report.html").resolve(), dark=True)
    window.run("document.getElementById('slices').scrollIntoView()")
    shoot(window, "report-dark")
    window.open(Path("report.html").resolve(), width=400)
    shoot(window, "report-narrow")
    panel()
    window.open(Path("panel/report.html").resolve())
    window.run("document.getElementById('judges').scrollIntoView()")
    shoot(window, "panel")
    with served(*data) as url:
        window.resize()
        window.driver.get(url)
        window.driver.set_script_timeout(60)
        window.driver.execute_async_script(
            """
            const done = arguments[0], wait = () => document.getElementById("result").hidden
              ? setTimeout(wait, 50) : done();
            document.getElementById("example").click();
            wait();
            """
        )
        window.run("window.scrollTo(0, 0)")
        shoot(window, "serve")


def panel() -> None:
    """A panel of sample judges in ``panel/``."""
    from arena_ensemble import sample

    if Path("panel/report.html").is_file():
        return
    made = sample.panel(
        400, seed=0, judges={name: sample.JUDGES[name] for name in ("careful", "leaning", "hasty")}
    )
    for name, text in made.files().items():
        Path(name).write_text(text)
    call("panel", "--judgements", "verdicts.csv", "--votes", "votes.csv", "--out", "panel")
    call("report", "--external", "panel")


@contextlib.contextmanager
def served(*words: str) -> Iterator[str]:
    """The address of a server of ``work``."""
    command = [*PROGRAM, "serve", "--workspace", "work", *words, "--port", "0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    try:
        assert process.stderr is not None
        yield next(found[0] for line in process.stderr if (found := re.search(r"http://[\d.:]+", line)))
    finally:
        process.terminate()
        process.wait()


def call(*words: str) -> None:
    """Run a verb; 4 says that a member learned nothing, which a picture may show."""
    done = subprocess.run([*PROGRAM, *words], check=False, stdout=subprocess.DEVNULL)
    assert done.returncode in (0, 4), words


def typed(words: Sequence[str]) -> str:
    """What a terminal of `WIDTH` columns is sent by a verb."""
    main_end, end = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(WIDTH), "TERM": "xterm-256color"}
    environment.pop("NO_COLOR", None)
    process = subprocess.Popen([*PROGRAM, *words], stdout=end, stderr=end, env=environment)
    os.close(end)
    parts = []
    with contextlib.suppress(OSError):  # the terminal is gone with the process
        while part := os.read(main_end, 1 << 16):
            parts.append(part)
    os.close(main_end)
    assert process.wait() in (0, 4)
    return b"".join(parts).decode().replace("\r\n", "\n")


def save_svg(name: str, text: str) -> None:
    """A picture of a terminal with this text."""
    text = text.replace(f"{sys.executable} -m arena_ensemble", "arena-ensemble")
    text = text.replace("python -m arena_ensemble", "arena-ensemble")
    console = Console(
        record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, color_system="standard"
    )
    console.print(Text.from_ansi(text.strip("\n")), soft_wrap=False)
    svg = console.export_svg(title="arena-ensemble", code_format=SVG, unique_id=name)
    (HERE / f"{name}.svg").write_text(svg, encoding="utf-8")


def shoot(window: Browser, name: str) -> None:
    """The window as a PNG, in few colours where Pillow is there."""
    content = window.driver.get_screenshot_as_png()
    with contextlib.suppress(ImportError):
        from PIL import Image

        picture = Image.open(io.BytesIO(content)).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
        small = io.BytesIO()
        picture.save(small, "PNG", optimize=True)
        content = small.getvalue()
    (HERE / f"{name}.png").write_bytes(content)


if __name__ == "__main__":
    main()
