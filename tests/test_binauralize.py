"""Any video a person may have: each kind is accepted, or refused with one line that names the file and the remedy."""
import re
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch
from helping import refused, shell

import spatialbook.binaural.generate as drawing
import spatialbook.binauralize as module
from spatialbook.assets import available, locate
from spatialbook.binaural.generate import Binaural, Draw, load
from spatialbook.binaural.train import BinauralConfig
from spatialbook.binauralize import BinauralizeConfig, binauralize, ears_of_video, mono_blocks
from spatialbook.core import SpatialbookError, shipped
from spatialbook.decode import frames_at, probe, read_sound, sound_blocks
from spatialbook.demo import demo_film, film_kept
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
    "192 kHz to .mp4": dict(rate=192000, audio_codec="flac", suffix=".mkv", out=".mp4"),
    "192 kHz to .mov": dict(rate=192000, audio_codec="flac", suffix=".mkv", out=".mov"),
    "web": dict(codec="libvpx-vp9", audio_codec="libopus", rate=48000, suffix=".webm"),
    "44.1 kHz to .webm": dict(codec="libvpx-vp9", audio_codec="flac", suffix=".mkv", out=".webm"),
    "turned": dict(rotation=90),
    "variable rate": dict(times=[i / 25 + 0.012 * (i % 3) for i in range(50)]),
    "hevc": dict(codec="libx265"),
}


RATES = {"192 kHz to .mp4": 96000, "44.1 kHz to .webm": 48000}  # where a format cannot hold the rate; all others keep it


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def model():
    return load()


@pytest.fixture
def film(tmp_path):
    def make(suffix=".mp4", **how):
        path = flag_film(tmp_path / f"film{suffix}", **how)
        return path
    return make


@pytest.fixture
def stub(monkeypatch):
    "A system that costs nothing and says the same of every sound: the difference between the ears is `apart` times the mono."
    def make(apart=0.0):
        z = apart / (1 + apart ** 2) ** 0.5
        said = torch.stack([torch.full((80, 80), z), torch.zeros(80, 80)])
        monkeypatch.setattr(drawing, "answer", lambda model, mel, tokens, starts, draw=None: said.expand(len(starts), -1, -1, -1))
        monkeypatch.setattr(module, "feature_map", lambda frames: torch.zeros(len(frames), 1280, 7, 14))
        return Binaural(BinauralConfig(dim=16, width=32), Draw(mode="regression"))
    return make


def typed(monkeypatch, line):
    "The film and the settings that a line of words means."
    calls = []
    monkeypatch.setattr(module, "binauralize", lambda video, config: calls.append((str(video), config)))
    module.main(line.split())
    return calls[0]


@pytest.mark.parametrize("line, meant", {
    "film.mp4": {},
    "--strength=0.5 film.mp4": dict(strength=0.5),
    "--strength 0.5 film.mp4": dict(strength=0.5),
    "film.mp4 --strength 0.5": dict(strength=0.5),
    "--preview=10s --hfov 65 film.mp4 --seed=3": dict(preview="10s", hfov=65.0, seed=3),
    "--audio-only film.mp4": dict(audio_only=True),
    "--audio_only film.mp4 --out ears.wav": dict(audio_only=True, out="ears.wav"),
    "film.mp4 --no-audio-only": dict(audio_only=False),
    "--mono-from left film.mp4": dict(mono_from="left"),
    "--mono-from=left film.mp4": dict(mono_from="left"),
    "--mono_from left --decoder=vocoder film.mp4": dict(mono_from="left", decoder="vocoder"),
    "--out film.mp4 film.mp4": dict(out="film.mp4"),
}.items())
def test_words(line, meant, monkeypatch):
    assert typed(monkeypatch, line) == ("film.mp4", BinauralizeConfig(**meant))


@pytest.mark.parametrize("line", ["", "--strength=0.5", "one.mp4 two.mp4"])
def test_one_video_is_meant(line):
    assert "VIDEO" in refused(module.main, line.split())


@pytest.mark.parametrize("kind", KINDS)
def test_kinds(kind, film, tmp_path, model):
    how = dict(KINDS[kind])
    suffix, path, said = how.pop("out", how.get("suffix", ".mp4")), film(**how), []
    out = binauralize(path, BinauralizeConfig(out=str(tmp_path / f"out{suffix}"), mode="regression"), model, said.append)
    before, after = probe(path), probe(out)
    assert after.audio_rate == RATES.get(kind, before.audio_rate)
    assert sum(f"becomes {after.audio_rate} Hz" in line for line in said) == (kind in RATES), said
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


@pytest.mark.parametrize("rate, suffix", [(192000, ".wav"), (192000, ".flac"), (44100, ".wav")])
def test_sound_alone_keeps_the_rate(rate, suffix, film, tmp_path, stub):
    out = binauralize(film(".mkv", rate=rate, audio_codec="flac"), BinauralizeConfig(out=str(tmp_path / f"ears{suffix}"), audio_only=True), stub(), lambda line: None)
    assert soundfile.info(out).samplerate == rate and soundfile.info(out).frames == 2 * rate


@pytest.mark.parametrize("suffix, least", {".wav": -60, ".flac": -60, ".mkv": -25, ".mp4": -25}.items())
def test_ears_beyond_full_scale(suffix, least, tmp_path, stub):
    "Both ears are turned down by one gain, and one line says so: no place moves, and the mean of the ears stays the mono."
    t, said = torch.arange(3 * 44100) / 44100, []
    mono = 0.99 * torch.sin(2 * torch.pi * 440 * t) * torch.sin(torch.pi * t / 3)  # loud in the middle only
    path = write_video(tmp_path / "loud.mkv", torch.zeros(15, 48, 64, 3, dtype=torch.uint8), 5, mono.expand(2, -1), 44100, audio_codec="flac")
    notes = {}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        out = binauralize(path, BinauralizeConfig(out=str(tmp_path / f"ears{suffix}"), audio_only=suffix in (".wav", ".flac")), stub(0.6), said.append, notes)
    ears, whole = read_sound(out)[0][:, :len(mono)].double(), mono.double() * notes["gain"]  # Matroska keeps a codec's padding at the end
    assert notes["gain"] == pytest.approx(1 / (1.6 * 0.99), rel=0.01) and notes["mono_db"] < -40
    assert sum("turned down" in line for line in said) == 1 and any("4.0 dB" in line for line in said), said
    assert ears.abs().max() < (1.0001 if least < -40 else 1.05)  # a codec with losses overshoots a little
    assert 10 * torch.log10((ears.mean(0) - whole).square().sum() / whole.square().sum()) < least
    assert 10 * torch.log10(ears[0].square().sum() / ears[1].square().sum()) == pytest.approx(20 * np.log10(1.6 / 0.4), abs=0.01 if least < -40 else 0.3)


def test_quiet_ears_keep_their_level(film, tmp_path, stub):
    said, notes = [], {}
    binauralize(film(rate=22050), BinauralizeConfig(out=str(tmp_path / "ears.wav"), audio_only=True), stub(), said.append, notes)
    assert notes["gain"] == 1 and not any("turned down" in line for line in said)


@pytest.mark.parametrize("decoder", ["mask", "vocoder"])
@pytest.mark.parametrize("seconds", [20, 90])
def test_predicted_time(seconds, decoder, tmp_path, stub, monkeypatch):
    "With a clock that only the work moves, the time said first is the time it takes, however long the film."
    path = flag_film(tmp_path / "film.mkv", n=2 * seconds, fps=2, rate=22050, audio_codec="flac")
    model, clock, said = stub(), SimpleNamespace(now=0.0), []

    def costs(where, name, price):
        plain = getattr(where, name)
        def slow(*args, **kwargs):
            clock.now += price(*args)
            return plain(*args, **kwargs)
        monkeypatch.setattr(where, name, slow)
    def heard(path):
        for block in sound_blocks(path):
            clock.now += 0.1 * block.shape[1] / 22050  # a tenth of real time
            yield block
    costs(drawing, "answer", lambda model, mel, *rest: 0.5 * len(mel))
    costs(module, "feature_map", lambda frames: 0.05 * len(frames))
    monkeypatch.setattr(module, "sound_blocks", heard)
    monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    if decoder == "vocoder": monkeypatch.setattr(module, "load_head", lambda path: SimpleNamespace(reach=32))
    if decoder == "vocoder": monkeypatch.setattr("spatialbook.vocoder.decode.both_decoders", lambda head, mono, q: mono.expand(2, 2, -1))
    binauralize(path, BinauralizeConfig(out=str(tmp_path / "ears.wav"), audio_only=True, decoder=decoder), model, said.append)
    first = int(re.search(r"about (\d+) s", " ".join(said))[1])
    assert 0.8 < first / clock.now < 1.25, (first, clock.now)


MEMORY = """
import sys, torch
from pathlib import Path
import spatialbook.binaural.generate as drawing, spatialbook.binauralize as module
from spatialbook.binaural.train import BinauralConfig
from spatialbook.video import FLAG, write_video
torch.manual_seed(0)
drawing.answer = lambda model, mel, tokens, starts, draw=None: torch.zeros(len(starts), 2, 80, 80)
module.feature_map = lambda frames: torch.zeros(len(frames), 1280, 7, 14)
model = drawing.Binaural(BinauralConfig(dim=16, width=32))
def peak(): return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024  # MB of this program alone
for i, seconds in enumerate((20, 180)):
    noise = (0.1 * torch.randn(2, 48000) for _ in range(seconds))
    film = write_video(f"film{i}.mkv", (FLAG for _ in range(5 * seconds)), 5, noise, 48000)
    out = module.binauralize(film, module.BinauralizeConfig(out=f"ears{i}.mkv"), model, lambda line: None)
    print(peak(), module.probe(out).audio_duration)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is measured on Linux")
def test_long_films_need_no_more_memory(tmp_path):
    "What 160 s more of sound at 48 kHz take is 31 MB, both ears twice that; the peak that 20 s need is hardly raised."
    large = {f"MALLOC_{what}_THRESHOLD_": "65536" for what in ("MMAP", "TRIM")}  # what is let go leaves the process at once, so that the peak is what was held
    done = shell(sys.executable, "-c", MEMORY, cwd=tmp_path, OMP_NUM_THREADS="1", IN_TEST="1", **large)
    assert done.returncode == 0, done.stderr
    peaks, lengths = zip(*(map(float, line.split()) for line in done.stdout.splitlines()))
    assert lengths == pytest.approx((20, 180), abs=0.2)
    assert peaks[1] - peaks[0] < 20, peaks


@pytest.mark.skipif(not available("band_film"), reason="the film of the band is fetched by `make demo`: spatialbook assets --for demo")
def test_a_cut_of_the_real_film(tmp_path, model, capsys, monkeypatch):
    "What `make demo` measures of the whole film, measured of three seconds of it."
    film = locate("band_film") / "demo.mp4"
    sound, rate = read_sound(film)
    cut = write_video(tmp_path / "cut.mp4", frames_at(film, [20 + i / 25 for i in range(75)], 144), 25, sound[:, 20 * rate:23 * rate], rate)
    monkeypatch.setattr(model, "draw", replace(model.draw, mode="regression"))
    page = demo_film(model, cut, tmp_path)
    said = re.search(r"(\S+) s before, (\S+) s after; .* is the mono to (\S+) dB", capsys.readouterr().out)
    assert float(said[1]) == pytest.approx(3, abs=0.05) and abs(float(said[1]) - float(said[2])) <= 1 / 25 and float(said[3]) < -40
    assert said[0] in page


def test_the_demo_refuses_what_it_promised_not_to_do(film, tmp_path):
    long, short = film(n=50), flag_film(tmp_path / "short.mp4", n=48)
    assert "2.00 s after" in film_kept(long, long, dict(mono_db=-90.0))
    with pytest.raises(RuntimeError, match="1.92 s after"):
        film_kept(long, short, dict(mono_db=-90.0))
    with pytest.raises(RuntimeError, match="-39 dB"):
        film_kept(long, long, dict(mono_db=-39.0))


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
