"""The commands of spatialaudiogen's README, as they stand there, on a small tree in the published layout.

Only what keeps them small is appended (`--n_iters 2`, ...). The shims run in this process.
"""
import sys
import types
from unittest import mock

import av
import pytest
import torch
from helping import Scripts, refused

from spatialbook.ambisonics.tree import FramesTree, Recording, write_recording
from spatialbook.ambisonics.vr_file import inject, read_sphere
from spatialbook.core import torch_generator
from spatialbook.decode import probe
from spatialbook.space import encode_foa
from spatialbook.video import SoundTrack, write_video

README = dict(
    download="python scrapping/download.py meta/spatialaudiogen_db.lst",
    preprocess="python scrapping/preprocess.py meta/spatialaudiogen_db.lst",
    train="python train.py data/frames models/mymodel --subset_fn meta/subsets/REC-Street.train.1.lst --encoders audio video --batch_size 32 --n_iters 150000 --gpu 0",
    eval="python eval.py models/mymodel --subset_fn meta/subsets/REC-Street.test.1.lst --batch_size 32 --gpu 0",
    heatmap="python deploy.py {MODEL_DIR} data/demo/{VIDEO_DIR}/ data/demo/{VIDEO_DIR}/video-hr.mp4 -output_fn data/demo/{VIDEO_DIR}/prediction-colormap.mp4 --save_video --overlay_map",
    ambisonics="python deploy.py {MODEL_DIR} data/demo/{VIDEO_DIR}/ data/demo/{VIDEO_DIR}.mp4 -output_fn data/demo/{VIDEO_DIR}-output.mp4 --save_video --VR",
)


def street(i, seconds=2.2, size=(224, 448)):
    "Noise from one direction, and a bright column there."
    azimuth = [60.0, -60.0, 150.0, -20.0][i % 4]
    frames = torch.full((round(seconds * 10), *size, 3), 40, dtype=torch.uint8)
    column = int((0.5 - azimuth / 360) * size[1])
    frames[:, size[0] // 3:size[0] // 2, column - size[1] // 40:column + size[1] // 40] = 220
    return encode_foa(0.1 * torch.randn(round(seconds * 48000), generator=torch_generator("street", i)), azimuth), frames


def run(place, name, extra="", model="models/mymodel"):
    return Scripts("spatialaudiogen").run(place, README.get(name, name).replace("{MODEL_DIR}", model).replace("{VIDEO_DIR}", "street"), extra)


@pytest.fixture
def place(tmp_path):
    "Three videos as downloaded, lists, and a demo folder."
    (tmp_path / "meta/subsets").mkdir(parents=True)
    (tmp_path / "scraping").mkdir()
    (tmp_path / "data/orig").mkdir(parents=True)
    names = ["aaaaaaaaaaa", "bbbbbbbbbbb", "ccccccccccc"]
    (tmp_path / "meta/spatialaudiogen_db.lst").write_text("\n".join([*names, "goneforever"]))
    (tmp_path / "meta/audio_layouts.txt").write_text("\n".join([f"{n} {'WXY' if n[0] == 'b' else 'WXYZ'}" for n in names]))
    (tmp_path / "meta/subsets/REC-Street.train.1.lst").write_text("\n".join(names[:2]))
    (tmp_path / "meta/subsets/REC-Street.test.1.lst").write_text(names[2])
    (tmp_path / "scraping/video_formats.txt").write_text("".join(f"{n} 137 MONO ER\n" for n in names))
    for i, name in enumerate(names):
        foa, frames = street(i)
        with av.open(tmp_path / f"data/orig/{name}.audio.f338.webm", "w") as out: SoundTrack(out, foa, 48000, "libopus", 256_000, "ambisonic 1", {"mapping_family": "2"}).finish()
        write_video(tmp_path / f"data/orig/{name}.video.mp4", frames, 10)
    foa, frames = street(3, 1.2)
    write_recording(tmp_path / "data/demo/street", [foa], frames)
    for path in ("street/video-hr.mp4", "street.mp4"): write_video(tmp_path / "data/demo" / path, frames.repeat_interleave(2, 0), 20)
    return tmp_path


def check_download(place):
    "Without yt-dlp one line says what to do; with it the list is worked through."
    with mock.patch.dict(sys.modules, yt_dlp=None): assert "pip install yt-dlp" in refused(run, place, "download", "--output_dir data/new")
    assert "--low_res" in run(place, "python scrapping/download.py -h")

    class Dead:
        def __init__(self, params): pass
        def __enter__(self): return self
        def __exit__(self, *_): return False
        def extract_info(self, url, download): raise RuntimeError("Video unavailable")
    with mock.patch.dict(sys.modules, yt_dlp=types.SimpleNamespace(YoutubeDL=Dead)): assert "nothing could be downloaded" in refused(run, place, "download", "--output_dir data/new --pause 0", alone=False)


def check_preprocess(place):
    said = run(place, "preprocess")
    assert "3 of 4 videos are prepared" in said and "goneforever" in said
    tree = FramesTree(place / "data/frames", place / "meta/subsets/REC-Street.train.1.lst")
    assert tree.names == ["aaaaaaaaaaa", "bbbbbbbbbbb"] and not tree.mask("bbbbbbbbbbb")[2] and tree.duration("aaaaaaaaaaa") == 2.0
    folder = Recording(place / "data/frames/ccccccccccc").folder
    assert len(list((folder / "video").glob("*.jpg"))) == 20 and (folder / "audio_pow.lst").read_text().startswith("0.5 ")
    for extra, says in (("--flownet2_dir x", "Caffe"), ("--low_res --prep_hr_video", "exclude each other")): assert says in refused(run, place, "preprocess", extra)
    run(place, "python scraping/preprocess.py meta/subsets/REC-Street.test.1.lst --num_workers 1")


def check_deploy(place):
    run(place, "heatmap", model="models/ours")
    run(place, "ambisonics")
    heat, vr = place / "data/demo/street/prediction-colormap.mp4", place / "data/demo/street-output.mp4"
    assert (probe(heat).audio_channels, probe(heat).fps) == (2, 20.0) and read_sphere(heat).order is None
    assert read_sphere(vr).order == 1 and probe(vr).audio_channels == 4
    files = set(place.rglob("*"))
    assert "no such model" in refused(run, place, "heatmap", "", "models/nothing")
    assert "no such file" in refused(run, place, README["heatmap"].replace("/video-hr.mp4", "/nothing.mp4"))
    assert set(place.rglob("*")) == files


def test_the_readme(place, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    check_download(place)
    check_preprocess(place)
    small = "--batch_size 1 --save_every 1 --eval_every 2 --trackers tensorboard"
    said = run(place, "train", f"--n_iters 2 {small}")
    said += run(place, "train", f"--n_iters 3 {small} --resume")
    from spatialbook.checkpoints import load_run
    assert load_run(place / "models/mymodel", "last").state["step"] == 3, said
    run(place, "eval")
    assert (place / "models/mymodel/eval-detailed.txt").read_text().strip()
    run(place, f"python train.py data/frames models/ours --model ours --subset_fn meta/subsets/REC-Street.train.1.lst --n_iters 1 --window 0.4 {small}")
    check_deploy(place)


def test_published_checkpoints_are_refused(tmp_path):
    (tmp_path / "models/mymodel").mkdir(parents=True)
    for name in ("checkpoint", "train-params.txt", "model.ckpt.index"): (tmp_path / "models/mymodel" / name).write_text("x")
    assert "TensorFlow checkpoint of 2018" in refused(run, tmp_path, "python deploy.py models/mymodel data/demo/a/ data/demo/a.mp4 -output_fn out.mp4 --save_video")


def test_films_of_others_can_be_labelled(tmp_path):
    film = write_video(tmp_path / "a.mp4", torch.zeros(3, 32, 64, 3, dtype=torch.uint8), 10)
    inject(film, ambisonic=False)
    assert read_sphere(film).equirectangular and read_sphere(film).order is None
