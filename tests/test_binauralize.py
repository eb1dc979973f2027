"""Any video a person may have: each kind is accepted, or refused with one line that names the file and the remedy."""
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from spatialbook.binauralize import BinauralizeConfig, binauralize, ears_of_video, mono_blocks
from spatialbook.binaural.generate import load
from spatialbook.core import SpatialbookError, shipped
from spatialbook.decode import probe, read_sound
from spatialbook.video import flag_film, write_video

try:
    shipped("binaural")
except SpatialbookError as error:
    pytest.skip(str(error), allow_module_level=True)

KINDS = {
    "stereo": {},
    "mono": dict(channels=1),
    "surround": dict(channels=6),
    "8 kHz": dict(rate=8000, audio_codec="flac", suffix=".mkv"),
    "48 kHz": dict(rate=48000),
    "192 kHz": dict(rate=192000, audio_codec="flac", suffix=".mkv"),
    "turned": dict(rotation=90),
    "variable rate": dict(times=[i / 25 + 0.012 * (i % 3) for i in range(50)]),
    "hevc": dict(codec="libx265"),
}


@pytest.fixture(scope="module")
def model():
    return load()


@pytest.fixture
def film(tmp_path):
    def make(suffix=".mp4", **how):
        path = flag_film(tmp_path / f"film{suffix}", **how)
        return path
    return make


@pytest.mark.parametrize("kind", KINDS)
def test_kinds(kind, film, tmp_path, model):
    path, said = film(**KINDS[kind]), []
    out = binauralize(path, BinauralizeConfig(out=str(tmp_path / f"out{path.suffix}"), mode="regression"), model, said.append)
    before, after = probe(path), probe(out)
    assert after.audio_channels == 2 and after.codec == before.codec and after.rotation == before.rotation
    assert abs(after.duration - before.duration) <= 1 / 25
    changed = {"surround": "mixed down", "turned": "upright", "variable rate": "variable frame rate", "stereo": "becomes mono"}
    if kind in changed:
        assert any(changed[kind] in line for line in said), said
    assert any("about" in line and "Hz" in line for line in said), "the predicted time comes first"


def test_portrait(tmp_path, model):
    frames = torch.randint(0, 255, (30, 96, 54, 3), dtype=torch.uint8)
    path, said = write_video(tmp_path / "tall.mp4", frames, 15, 0.1 * torch.randn(2, 88200), 44100), []
    binauralize(path, BinauralizeConfig(out=str(tmp_path / "out.mp4"), mode="regression"), model, said.append)
    assert any("portrait" in line for line in said)


@pytest.mark.parametrize("mono_from", ["mix", "left"])
def test_the_mono_is_kept(mono_from, film, model):
    path = film(rate=44100)
    blocks, _, _ = ears_of_video(model, path, BinauralizeConfig(mono_from=mono_from))
    ears, sound = torch.cat(list(blocks), 1), read_sound(path)[0]
    mono = sound[0] if mono_from == "left" else sound.mean(0)
    wrong = (ears.mean(0) - mono).square().sum() / mono.square().sum()
    assert 10 * wrong.log10() < -40


def test_strength_preview_and_sound_alone(film, tmp_path, model):
    path = film()
    out = binauralize(path, BinauralizeConfig(out=str(tmp_path / "part.wav"), preview="1s", strength=0.0, audio_only=True, mode="regression"), model, lambda line: None)
    ears, rate = read_sound(out)
    assert ears.shape == (2, rate) and torch.equal(ears[0], ears[1])


def wrong(tmp_path, *words):
    "Run the command; one line, exit code 2, nothing written."
    done = subprocess.run([sys.executable, "-m", "spatialbook.commands", "binauralize", *map(str, words), "--out", str(tmp_path / "never.mp4")], capture_output=True, text=True)
    lines = [line for line in done.stderr.strip().split("\n") if not line.startswith("notice:")]
    assert done.returncode == 2 and len(lines) == 1, done.stderr
    assert not (tmp_path / "never.mp4").exists()
    return lines[0]


def test_refusals(film, tmp_path):
    (tmp_path / "text.mp4").write_text("this is not a film")
    (tmp_path / "empty.mp4").write_bytes(b"")
    silent = film(channels=0)
    for path in (tmp_path / "absent.mp4", tmp_path / "text.mp4", tmp_path / "empty.mp4", silent):
        assert Path(path).name in wrong(tmp_path, path)
    weights = tmp_path / "other.safetensors"
    weights.write_bytes(b"no")
    assert "other" in wrong(tmp_path, silent, "--checkpoint", weights)


def test_silence_has_no_direction(tmp_path, model):
    quiet = write_video(tmp_path / "quiet.mkv", torch.zeros(25, 64, 64, 3, dtype=torch.uint8), 25, torch.zeros(2, 44100), 44100, audio_codec="flac")
    with pytest.raises(SpatialbookError, match="silent"):
        binauralize(quiet, BinauralizeConfig(out=str(tmp_path / "never.mkv")), model)
    assert not (tmp_path / "never.mkv").exists()


def test_nan_is_refused_where_sound_is_read(tmp_path):
    sound = np.full((44100, 2), 0.1, np.float32)
    sound[100, 0] = np.nan
    soundfile.write(tmp_path / "nan.wav", sound, 44100, subtype="FLOAT")
    with pytest.raises(SpatialbookError, match="nan.wav.*not finite"):
        list(mono_blocks(tmp_path / "nan.wav"))


def test_empty_pictures_stay_mono(tmp_path, model):
    sound = 0.1 * torch.randn(1, 88200).expand(2, -1)
    for name, frames in dict(black=torch.zeros(20, 224, 448, 3), grey=torch.full((20, 224, 448, 3), 128.0), noise=torch.rand(20, 224, 448, 3) * 255).items():
        path = write_video(tmp_path / f"{name}.mkv", frames.byte(), 5, sound, 22050, audio_codec="flac")
        blocks, _, _ = ears_of_video(model, path, BinauralizeConfig())
        ears = torch.cat(list(blocks), 1)
        level = 10 * torch.log10(ears[0].square().mean() / ears[1].square().mean())
        assert abs(level) < 0.5, f"{name}: {level:.2f} dB"
