"""What tests share: the scripts of a published system run as its README says, programs run from a shell, runs that are killed, and a browser."""
import multiprocessing
import os
import runpy
import shlex
import shutil
import signal
import subprocess
import sys
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from unittest import mock

import pytest

from spatialbook.core import home

ROOT = Path(__file__).resolve().parents[1]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
         "--autoplay-policy=no-user-gesture-required"]
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: `make browser` installs it (Debian, root)")


class Scripts:
    "The scripts of a published system, under their names, and the commands of its README."
    def __init__(self, system, readme={}): self.folder, self.readme = ROOT / "scripts" / system, readme

    def words(self, place, command, extra=""):
        "The script and the flags of a command, named or written out; `/path/to` is the place."
        line = f"{self.readme.get(command, command)} {extra}".replace("\\\n", " ").replace("/path/to", str(place))
        script, *flags = shlex.split(line)[1:]
        return self.folder / script, flags

    def run(self, place, command, extra=""):
        "Run a command in this process; what it said, on both channels."
        script, flags = self.words(place, command, extra)
        try:
            with chdir(place), mock.patch.object(sys, "argv", [str(script), *flags]), redirect_stdout(StringIO()) as said, redirect_stderr(StringIO()) as warned:
                runpy.run_path(str(script), run_name="__main__")
        except SystemExit as end:
            if end.code:
                sys.stderr.write(warned.getvalue())
                raise
        return said.getvalue() + warned.getvalue()

    def are_short(self):
        "Whether every script only leads into the package."
        return all(len([line for line in s.read_text().splitlines() if line]) <= 3 for s in self.folder.rglob("*.py"))


def refused(function, *args, alone=True):
    "The line with which a command ends, exit code 2; there are no lines before it, unless `alone` is False."
    with pytest.raises(SystemExit) as end, redirect_stderr(StringIO()) as said: function(*args)
    *before, line = said.getvalue().strip().splitlines()
    assert end.value.code == 2 and line.startswith("spatialbook: ") and not (alone and before), said.getvalue()
    return line


def shell(*words, cwd=ROOT, timeout=280, **env):
    "Run a program in a process of its own, with the package of this checkout."
    return subprocess.run(list(map(str, words)), cwd=cwd, env=dict(os.environ, PYTHONPATH=str(ROOT), **env), capture_output=True, text=True, timeout=timeout)


def killed(recipe, step, function, *args):
    "The exit code of a child that calls `function`, and dies by SIGKILL in the middle of that step of a training by `recipe`."
    def child():
        learn = recipe.update
        def dying(self, batch, engine):
            if engine.step == step: os.kill(os.getpid(), signal.SIGKILL)
            return learn(self, batch, engine)
        recipe.update = dying
        function(*args)
    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join()
    return process.exitcode


def same_bits(a, b, count):
    "Whether two runs left the same: so many files of tensors, and the log."
    files = sorted(p.relative_to(a) for p in Path(a).rglob("*.safetensors"))
    assert len(files) == count, files
    return all((a / f).read_bytes() == (b / f).read_bytes() for f in [*files, "metrics.jsonl"])


@contextmanager
def own_home(place):
    "For what a test makes, a home in `place` with the assets that are here; and no GPU."
    (place / "home").mkdir()
    (place / "home" / "assets").symlink_to((home() / "assets").resolve())
    with mock.patch.dict(os.environ, SPATIALBOOK_HOME=str(place / "home"), CUDA_VISIBLE_DEVICES=""):
        yield place
