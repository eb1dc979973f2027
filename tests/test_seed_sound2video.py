"""The commands of Listen and Move's README, as they stand there, on a film of four seconds.

Only what keeps them small is appended (`--total_iter 2`, few channels). The shims run in this process, `train.sh` in a shell.
"""
import json
import re
import shlex
import sys

import numpy as np
import pytest
import soundfile
import torch
from helping import Scripts, own_home, refused, shell

from spatialbook.video import frames_at, probe, write_video

TRAIN_SH = './train.sh 1 ./assets/myvideo.mp4 myname rnn 1 basic 128 "" 650,400,1250,1000 50000'
DEPLOY = r"""python deploy.py \
    --gpus 0 \
    --checkpoint 20221115162523-experiment128/checkpoints/0040000_Gn.model \
    --vp_channels 8 \
    --motion_layers 3 \
    --sound_route rnngen \
    --seq_len 32 \
    --e_motion 2 \
    --z_content 0 \
    --fps 10 \
    --chunk_len 0.150 \
    --mel_bands 64 \
    --feat_type lms \
    --image_size 256 \
    --g_arch residual"""
SMALL = "--total_iter 2 --seq_len 4 --base 16 --most 8 --d_base 16 --d_most 8 --lambda_pl 0 --log_every 1 --check_period 2 --validation 1 --deploy_seconds 0.4"
CHECKPOINT = "20221115162523-experiment128/checkpoints/0040000_Gn.model"


scripts = Scripts("listen_and_move")
run = scripts.run


@pytest.fixture
def place(tmp_path_factory):
    "A film in which a square lights up with each beep, in the corner that the README's crop shows."
    place = tmp_path_factory.mktemp("seed5")
    rate, frames, sound = 16000, [], np.zeros((1, 16000 * 4), np.float32)
    for k in range(20):
        picture = np.full((1024, 1280, 3), 30, np.uint8)
        if k % 4 == 0:
            picture[600:800, 850:1050] = (240, 200, 40)
            sound[0, k * 3200:k * 3200 + 1600] = 0.4 * np.sin(np.arange(1600) * 0.3)
        frames.append(torch.from_numpy(picture))
    write_video(place / "assets" / "myvideo.mp4", frames, 5, torch.from_numpy(sound), rate)
    soundfile.write(place / "other.wav", sound[0, :24000], rate)
    for i, seconds in enumerate((1.2, 2.0)):
        (place / "FSD50K/FSD50K.eval_audio").mkdir(parents=True, exist_ok=True)
        soundfile.write(place / f"FSD50K/FSD50K.eval_audio/{i}.wav", sound[0, :round(rate * seconds)], rate)
    (place / "FSD50K/FSD50K.ground_truth").mkdir()
    (place / "FSD50K/FSD50K.ground_truth/eval.csv").write_text("fname,labels,mids\n0,Beep,/m/0\n1,Beep,/m/0\n")
    with own_home(place): yield place


def check_train_sh(place):
    words = shlex.split(TRAIN_SH)
    train_sh = lambda *words: shell(scripts.folder / "train.sh", *words, cwd=place, PYTHON=sys.executable)
    done = train_sh(*words[1:], *shlex.split(SMALL))
    assert done.returncode == 0, done.stderr[-2000:]
    out, = place.glob("*-myname")
    assert re.fullmatch(r"\d{14}-myname", out.name) and "--chunk_len 0.085" in done.stderr and "0.16" in done.stderr
    assert {p.name for p in (out / "checkpoints").iterdir()} == {"0000002_Gn.model"} and list((out / "videos").glob("*.mp4"))
    log, = out.glob("log_train-*.txt")
    assert [line.split()[0] for line in log.read_text().splitlines()] == ["Iter:1", "Iter:2"] and "Gv:" in log.read_text()
    tags = {p.relative_to(out / "runs" / out.name).parts[0] for p in (out / "runs").rglob("events*")}  # a folder and file for each curve of `add_scalars`, as published
    assert {"Loss_Total_Gv", "Loss_Total_Di", "Loss_Penalty_Dv_gp", "Metrics_MSE_MSE"} <= tags, tags
    kept = torch.load(out / "checkpoints" / "0000002_Gn.model", weights_only=True)["config"]
    assert (kept["crop"], kept["image_size"], kept["sound_route"], kept["vid_pred"]) == ("650,400,1250,1000", 128, "rnn", "")
    few = train_sh(*words[1:9])
    assert few.returncode == 2 and "<total_iter>" in few.stderr
    out.rename(place / "trained")


def check_resume(place):
    "`--resume` and nothing else: the run knows its settings, and the log goes on."
    run(place, "python train.py --resume trained --total_iter 3")
    log, *later = sorted((place / "trained").glob("log_train-*.txt"))
    assert [line.split()[0] for p in (log, *later) for line in p.read_text().splitlines()] == ["Iter:1", "Iter:2", "Iter:3"]
    assert "was trained with other settings: image_size was 128 and is 64" in refused(run, place, "python train.py --resume trained --image_size 64 --total_iter 4", alone=False)


def check_training_in_this_process(place):
    "The checkpoint that the README's deploy example needs, made by the same flags."
    flags = "--trial_name experiment128 --out 20221115162523-experiment128 --vp_channels 8 --motion_layers 3 --sound_route rnngen --e_motion 2 --z_content 0 --fps 10 --chunk_len 0.150 --mel_bands 64 --feat_type lms --image_size 256 --g_arch residual"
    said = run(place, f"python train.py --train_source assets/myvideo.mp4 --crop 650,400,1250,1000 --vid_pred dir --motion_type acc {flags} {SMALL} --total_iter 1 --check_period 1 --deploy_seconds 0")
    assert "is another name of feedback" in said
    (place / CHECKPOINT).parent.joinpath("0000001_Gn.model").rename(place / CHECKPOINT)


def check_deploy(place):
    "The example word for word; then with sounds, in pieces of any size."
    said = run(place, DEPLOY)
    videos = place / "20221115162523-experiment128" / "videos"
    film, = [p for p in videos.glob("*.mp4") if "0040000_Gn" in p.name]
    info = probe(film)
    assert film.name.endswith("_0040000_Gn-is256-sl32-fs10-cl0.15.mp4") and (info.width, info.fps) == (256, 10) and "8 pictures" in said
    whole = DEPLOY + " --audio other.wav"
    run(place, whole)
    run(place, whole.replace("--seq_len 32", "--seq_len 3"))
    a, b = (frames_at(videos / f"other_0040000_Gn-is256-sl{n}-fs10-cl0.15.mp4", 10.0) for n in (32, 3))
    assert len(a) == 15 and torch.equal(a, b)
    assert probe(videos / "other_0040000_Gn-is256-sl32-fs10-cl0.15.mp4").has_audio


def check_evaluations(place):
    source = "--train_source assets/myvideo.mp4 --crop 650,400,1250,1000"
    said = run(place, f"python eval_models.py {source} --checkpoints trained/checkpoints/0000002_Gn.model,trained/checkpoints/0000002_Gn.model --labels a,b --save_plot ssim --image_size 128 --sound_route rnn --motion_type basic")
    told = json.loads((place / "eval_models" / "results.json").read_text())
    assert "a: 1 sequence of 16 pictures" in said and "fewer than --max_seq_len 1024" in said and list(told) == ["a", "b"] and (place / "eval_models" / "ssim.png").exists()
    assert told["a"]["mse"]["mean"] == told["b"]["mse"]["mean"] and len(told["a"]["lpips"]["curve"]) == 16
    said = run(place, f"python scripts/eval_FSD50K.py {source} --checkpoint trained/checkpoints/0000002_Gn.model")
    assert "2 sounds of 1 to 5 s are there, not 500" in said and "fd-lite0 of all" in said and "fid" not in said
    for script, words, made in (("eval_models.sh", ("a", "--crop", "650,400,1250,1000", "--out", "sh"), [f"sh/{m}.png" for m in ("mse", "psnr", "ssim")]),
                                ("eval_FSD50K.sh", ("FSD50K", "--crop", "650,400,1250,1000", "--n", "1"), ["eval_FSD50K/0000002_Gn/results.json"])):
        done = shell(scripts.folder / "scripts" / script, "assets/myvideo.mp4", "trained/checkpoints/0000002_Gn.model", *words, cwd=place, PYTHON=sys.executable)
        assert done.returncode == 0 and all((place / m).exists() for m in made), done.stderr[-2000:]


REFUSED = [
    (f"python deploy.py --checkpoint {CHECKPOINT} --feat_type mel", "--feat_type mel contradicts the checkpoint, which was trained with lms"),
    (f"python deploy.py --checkpoint {CHECKPOINT} --audio gone.wav", "gone.wav: no such sound file"),
    (f"python deploy.py --checkpoint {CHECKPOINT} --gpus first", "no number of a GPU"),
    ("python deploy.py --checkpoint nowhere.model", "nowhere.model"),
    ("python eval_models.py --checkpoints trained/checkpoints/0000002_Gn.model --labels a,b", "one label a checkpoint"),
    ("python eval_models.py --save_plot mse,fid", "--save_plot fid is refused"),
    (f"python deploy.py --checkpoint {CHECKPOINT} --motion_layers 1 --force", "--motion_layers 1 contradicts the checkpoint, which was trained with 3"),
    ("python train.py --train_source assets/myvideo.mp4 --crop a,b,c,d --total_iter 1 --out x", "is not four whole numbers"),
    ("python train.py --resume FSD50K", "FSD50K: is no folder of a run"),
    ("python eval_FSD50K.py --fsd50k nowhere", "FSD50K.ground_truth"),
    ("python train.py --train_source gone.mp4 --total_iter 1 --out x", "gone.mp4: no such file"),
    ("python train.py --train_source assets/myvideo.mp4 --crop 0,0,5000,10 --total_iter 1 --out x", "does not lie in a picture of 1280 x 1024"),
    ("python train.py --chunk_len 0.02", "0.025"),
    ("python train.py --g_arch skip --cond_gen", "residual"),
]


def check_refusals(place):
    for command, why in REFUSED:
        line = refused(run, place, command, alone=False)
        assert why in line, line
    assert not list(place.rglob("*.mp4.*")) and scripts.are_short()


def test_the_readme(place):
    "One test: every part needs what those before it have made."
    for check in (check_train_sh, check_resume, check_training_in_this_process, check_deploy, check_evaluations, check_refusals): check(place)
