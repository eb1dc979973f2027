"""The wheel, by itself, in an empty folder: no checkout, no network, nothing to read but what was packed."""
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from helping import ROOT

WEIGHTS = ROOT / "data" / "checkpoints" / "binaural" / "ours.safetensors"
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
needs_weights = pytest.mark.skipif(not WEIGHTS.exists(), reason="chapter 1's weights are not in this checkout: data/checkpoints/binaural/ours.safetensors")


def run(*words, cwd, **env):
    done = subprocess.run(list(map(str, words)), cwd=cwd, env={k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "SPATIALBOOK_HOME")} | {k: str(v) for k, v in env.items()},
                          capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    "Built from a copy: a build leaves folders behind, and what they hold would be in the next wheel."
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("setup.py", "settings.ini", "pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, source)
    for name in ("spatialbook", "data/checkpoints"):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    run(*PIP, "wheel", "-q", "--no-deps", "--no-build-isolation", "--no-index", "-w", out, source, cwd=out)
    path, = out.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    "Where it is installed; the libraries are those of this environment, the package comes from here first."
    target = tmp_path_factory.mktemp("target")
    run(*PIP, "install", "-q", "--no-deps", "--no-index", "--target", target, wheel, cwd=target)
    return target


def test_what_is_in_it(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    modules = {p.relative_to(ROOT).as_posix() for p in (ROOT / "spatialbook").rglob("*.py")}
    assert {n for n in names if n.endswith(".py")} == modules
    assert {Path(n).name for n in names if "/licenses/" in n} == {"LICENSE", "NOTICE"}
    others = [n for n in names if not n.endswith(".py") and ".dist-info/" not in n]
    packed = {p.relative_to(ROOT / "data" / "checkpoints").as_posix() for ending in ("safetensors", "json") for p in (ROOT / "data" / "checkpoints").glob(f"*/ours.{ending}")}
    assert set(others) == {f"spatialbook/weights/{name}" for name in packed}
    assert not any(str(ROOT).encode() in zipfile.ZipFile(wheel).read(n) for n in names if n.endswith((".py", ".json", "METADATA")))


def test_imports_from_an_empty_folder(installed, tmp_path):
    code = ("import sys, pathlib, spatialbook, spatialbook.checkpoints, spatialbook.core as c\n"
            "print(pathlib.Path(spatialbook.__file__).parent, c.checkout(), c.home(), sep='\\n')")
    home = tmp_path / "home"
    where, checkout, at_home = run(sys.executable, "-c", code, cwd=tmp_path, PYTHONPATH=installed, SPATIALBOOK_HOME=home).splitlines()
    assert (Path(where), checkout, Path(at_home)) == (installed / "spatialbook", "None", home)
    *_, at_home = run(sys.executable, "-c", code, cwd=tmp_path, PYTHONPATH=installed, HOME=tmp_path).splitlines()
    assert Path(at_home) == tmp_path / ".cache" / "spatialbook"
    assert list(tmp_path.iterdir()) == [], "importing writes nothing"


def test_the_command(installed, tmp_path):
    said = run(sys.executable, installed / "bin" / "spatialbook", "--help", cwd=tmp_path, PYTHONPATH=installed, SPATIALBOOK_HOME=tmp_path / "home")
    assert said.startswith("usage: spatialbook") and "binauralize" in said
    assert list(tmp_path.iterdir()) == []


@needs_weights
def test_shipped_weights(installed, tmp_path):
    found = Path(run(sys.executable, "-c", "from spatialbook.core import shipped; print(shipped('binaural'))", cwd=tmp_path, PYTHONPATH=installed).strip())
    assert found == installed / "spatialbook" / "weights" / "binaural" / "ours.safetensors"
    assert found.read_bytes() == WEIGHTS.read_bytes()


@needs_weights
def test_a_video_gets_two_ears(installed, tmp_path):
    import torch

    from spatialbook.assets import locate
    from spatialbook.decode import probe, read_sound
    from spatialbook.video import write_video
    locate("efficientnet")
    noise = torch.randn(1, 48000, generator=torch.Generator().manual_seed(0)) * 0.1
    frames = torch.randint(0, 255, (20, 120, 160, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    write_video(tmp_path / "film.mp4", frames, 10, noise, 24000)
    home = tmp_path / "home"
    shutil.copytree(locate("efficientnet"), home / "assets" / "efficientnet")
    run(sys.executable, installed / "bin" / "spatialbook", "binauralize", "film.mp4", "--out", "two.mp4", cwd=tmp_path, PYTHONPATH=installed, SPATIALBOOK_HOME=home)
    assert probe(tmp_path / "two.mp4").audio_channels == 2
    (before, _), (after, _) = read_sound(tmp_path / "film.mp4"), read_sound(tmp_path / "two.mp4")
    assert after.shape == (2, before.shape[1]) and after.isfinite().all() and after.abs().max() > 0.01
