"""The commands of DiffBinaural's README, as they stand there, on small corpora in both published layouts.

Only what keeps them small is appended (`--num_epoch 2`, ...); `/path/to` is a temporary folder. The shims run in this process, and in the processes it starts.
"""
import json
import math
import signal
import sys
from contextlib import chdir

import numpy as np
import pytest
import torch
from helping import Scripts, killed, own_home, refused, same_bits, shell

from spatialbook.binaural.realbinaural import write_realbinaural
from spatialbook.checkpoints import load_run, read_rows
from spatialbook.core import Clip, torch_generator
from spatialbook.scenes.corpus import write_clip
from spatialbook.sound import read_audio, write_audio

README = dict(
    train_fairplay=r"""python train_fairplay.py \
    --id fairplay_exp \
    --list_train /path/to/fairplay/train.csv \
    --list_val /path/to/fairplay/val.csv \
    --ckpt ./checkpoints \
    --num_gpus 2 \
    --batch_size_per_gpu 8 \
    --num_epoch 1000 \
    --lr_unet 0.0001 \
    --lr_frame 0.0001 \
    --eval_epoch 10 \
    --learning_rate_decrease_itr 100 \
    --decay_factor 0.94""",
    train_real=r"""python train_realBinaural.py \
    --id realBinaural_exp \
    --list_train /path/to/real_dataset/splits/train.csv \
    --list_val /path/to/real_dataset/splits/val.csv \
    --data_root /path/to/real_dataset \
    --ckpt ./checkpoints \
    --num_gpus 2 \
    --batch_size_per_gpu 8 \
    --num_epoch 1000 \
    --lr_unet 0.0001 \
    --lr_frame 0.0001 \
    --eval_epoch 10""",
    test_fairplay=r"""python test_fairplay.py \
    --id fairplay_exp \
    --mode test \
    --weights_unet ./checkpoints/unet_best.pth \
    --weights_frame ./checkpoints/frame_best.pth \
    --list_val /path/to/fairplay/test.csv \
    --output_dir ./generated_mels/fairplay""",
    test_real=r"""python test_realBinaural.py \
    --id realBinaural_exp \
    --mode test \
    --weights_unet ./checkpoints/unet_best.pth \
    --weights_frame ./checkpoints/frame_best.pth \
    --list_val /path/to/real_dataset/splits/test.csv \
    --data_root /path/to/real_dataset \
    --output_dir ./generated_mels/realBinaural""",
    test_real_pipeline=r"""python test_realBinaural.py \
    --id realBinaural_exp \
    --mode test \
    --weights_unet ./checkpoints/unet_best.pth \
    --weights_frame ./checkpoints/frame_best.pth \
    --output_dir ./generated_mels""",
    evaluate_mels=r"""python evaluate_mel_spectrogram_rmse.py \
    --pred_dir ./generated_mels \
    --gt_dir ./ground_truth_mels""",
    evaluate_audio=r"""python evaluate_binaural_22050.py \
    --pred_dir ./generated_audio \
    --gt_dir ./ground_truth_audio""",
    resume="python train_realBinaural.py --id realBinaural_exp --ckpt ./checkpoints",
)
SMALL = "--num_epoch 2 --eval_epoch 1 --batch_size_per_gpu 1 --num_channels 8 --disp_iter 1"


def toy(i, seconds=1.0, fps=10.0):
    "Noise on one side, and a bright box there."
    x = [-0.6, 0.6, -0.2, 0.2][i % 4]
    noise = 0.1 * torch.randn(int(22050 * seconds), generator=torch_generator("toy", i))
    box = torch.tensor([(1 + x) / 2 - 0.1, 0.3, (1 + x) / 2 + 0.1, 0.9])
    frames = torch.full((int(seconds * fps), 56, 112, 3), 40, dtype=torch.uint8)
    frames[:, 17:50, int(112 * box[0]):int(112 * box[2])] = 220
    azimuth = torch.full((1, len(frames)), -40.0 * math.copysign(1, x))
    return Clip(f"{i:06d}", torch.stack([noise * (1 - x) / 2, noise * (1 + x) / 2]), 22050, frames, fps, box.expand(len(frames), 1, 4).clone(), truth=dict(labels=["box"], azimuth_deg=azimuth))


scripts = Scripts("diffbinaural", README)


@pytest.fixture
def place(tmp_path_factory):
    "Both corpora: FAIR-Play with absolute paths in its lists, RealBinaural with two actions in one recording."
    place = tmp_path_factory.mktemp("seed")
    fair = place / "fairplay"
    for split, numbers in dict(train=(0, 1, 2), val=(3,), test=(5,)).items():
        for i in numbers: write_clip(fair, f"{i:06d}", toy(i))
        rows = [f"{fair}/binaural_audios/{i:06d}.wav,{fair}/videos/{i:06d}.mp4,1.0" for i in numbers]
        (fair / f"{split}.csv").write_text("\n".join(["audio_path,video_path,duration", *rows]) + "\n")
    write_realbinaural(place / "real_dataset", dict(train=[(toy(0), []), (toy(1, 2.0), [(0.0, 1.0, "tuning"), (1.0, 2.0, "playing")])], val=[(toy(2), [])], test=[(toy(3, 2.0), [(0.5, 1.5, "playing")])]))
    with own_home(place): yield place  # without a GPU: two processes on any machine


def check_training(place):
    "Both training commands, two processes each."
    for name in ("train_fairplay", "train_real"):
        said = scripts.run(place, name, SMALL)
        assert "3 clips to learn from, 1 to choose on" in said and "1 windows each: global batch 2" in said
    for name, corpus in (("fairplay_exp", "fairplay"), ("realBinaural_exp", "realBinaural")):
        out = place / "checkpoints" / name
        assert {"unet_latest.pth", "frame_latest.pth", "unet_best.pth", "frame_best.pth", "training_history.json", "config.json", "runs", "best", "last"} <= {p.name for p in out.iterdir()}
        assert load_run(out, "last").state["world"] == 2
        config = json.loads((out / "config.json").read_text())
        assert (config["data"], config["lr"], config["lr_frame"], config["decay"], config["decay_every"], config["batch_size"], config["grad_clip"]) == (corpus, 1e-4, 1e-4, 0.94, 100, 2, 5.0)
        assert [r["step"] for r in read_rows(out / "metrics.jsonl") if "loss" in r] == [1, 2, 3]
    history = json.loads((place / "checkpoints" / "training_history.json").read_text())
    assert history["id"] == "realBinaural_exp" and all(math.isfinite(v) for v in history["train"]["loss"] + history["val"]["mel_l2"])


def check_the_lines_that_load(place):
    from spatialbook.binaural.seed_recipe import networks
    from spatialbook.binaural.unet import UNetConfig
    net_unet, net_frame = networks(UNetConfig(dim=8, width=24))
    with chdir(place):
        net_frame.load_state_dict(torch.load('checkpoints/frame_best.pth'))
        net_unet.load_state_dict(torch.load('checkpoints/unet_best.pth'))
    best = load_run(place / "checkpoints" / "realBinaural_exp").weights["unet"]
    assert torch.equal(net_unet.stem.weight, best["stem.weight"]) and torch.equal(net_frame.tokens.look.weight, best["tokens.look.weight"])


def check_tensorboard(place):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    events = EventAccumulator(str(place / "checkpoints" / "realBinaural_exp" / "runs"))
    events.Reload()
    assert {"training loss", "eval mel_l2", "lr/unet", "lr/frame", "grad_norm"} <= set(events.Tags()["scalars"])
    assert {"pred/left_0", "pred/right_0", "gt/left_0", "gt/right_0"} == set(events.Tags()["images"])
    assert [e.step for e in events.Scalars("training loss")] == [1, 2, 3]


def check_goes_on_alone(place):
    said = scripts.run(place, "resume", "--num_epoch 4 --num_gpus 2")
    out = place / "checkpoints" / "realBinaural_exp"
    assert "global batch 2" in said and load_run(out, "last").state["step"] == 6
    scripts.run(place, "resume")  # nothing left to do: what was typed before is remembered
    assert load_run(out, "last").state["step"] == 6


def check_killed(place):
    "In both layouts: a run that was killed and went on ends with the bits of one that was not."
    from spatialbook.binaural.seed_recipe import SeedRecipe
    one = SMALL + " --num_gpus 1"
    for name, script in (("train_fairplay", "train_fairplay.py"), ("train_real", "train_realBinaural.py")):
        scripts.run(place, name, f"{one} --id whole_{name}")
        assert killed(SeedRecipe, 4, scripts.run, place, name, f"{one} --id dead_{name}") == -signal.SIGKILL
        assert load_run(place / "checkpoints" / f"dead_{name}", "last").state["step"] == 3
        scripts.run(place, f"python {script} --id dead_{name} --ckpt ./checkpoints")
        whole, dead = (place / "checkpoints" / f"{which}_{name}" for which in ("whole", "dead"))
        assert same_bits(whole, dead, 6)  # the projection among them
        for file in ("unet_latest.pth", "unet_best.pth", "frame_latest.pth"):
            a, b = (torch.load(folder / file) for folder in (whole, dead))
            assert a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)
        assert "mel L2" in scripts.run(place, f"python {script} --id whole_{name} --mode eval")


def check_generation(place):
    "The test commands, and the true mels beside."
    few = "--num_sample_timesteps 2"
    for name in ("test_fairplay", "test_real"):
        said = scripts.run(place, name, few)
        assert f"checkpoints/{'fairplay' if 'fair' in name else 'realBinaural'}_exp/unet_best.pth" in said  # not the newest run's
        scripts.run(place, name, f"--ground_truth --output_dir ./ground_truth_mels/{'fairplay' if 'fair' in name else 'realBinaural'}")
    files = {p.relative_to(place / "generated_mels").as_posix() for p in (place / "generated_mels").rglob("*.npy")}
    video = (place / "real_dataset" / "splits" / "test.csv").read_text().splitlines()[1].split(",")[0]
    assert files == {f"{corpus}/{side}/{name}.npy" for corpus, name in (("fairplay", "000005_0.00"), ("realBinaural", f"{video}_0.50")) for side in ("left", "right")}
    for name in files:
        mel, truth = (np.load(place / folder / name) for folder in ("generated_mels", "ground_truth_mels"))
        assert mel.dtype == np.float32 and mel.shape == truth.shape == (80, 86) and np.isfinite(mel).all()


def check_evaluation_of_mels(place):
    said = scripts.run(place, "evaluate_mels")
    assert "2 mels of two ears" in said and "rmse 0-500 Hz" in said and (place / "generated_mels" / "mel_rmse_summary.csv").exists()
    said = scripts.run(place, "evaluate_mels", "--pred_dir ./ground_truth_mels")
    assert float(said.split()[said.split().index("rmse") + 1]) == 0.0, "a perfect prediction scores 0"
    scripts.run(place, "evaluate_mels", "--pred_dir ./generated_mels/fairplay --gt_dir ./ground_truth_mels/fairplay")
    refused(scripts.run, place, "evaluate_mels", "--pred_dir ./generated_mels/fairplay --gt_dir ./ground_truth_mels/realBinaural", alone=False)


def check_whole_pipeline(place):
    "Without lists: those of the run, one folder a split, as the second stage reads them."
    scripts.run(place, "test_real_pipeline", "--num_sample_timesteps 1 --output_dir ./all --noise_gate -40")
    assert {p.name: len(list(p.iterdir())) for p in (place / "all" / "left").iterdir()} == dict(train=3, val=1)
    scripts.run(place, "test_real_pipeline", "--split val --output_dir ./some --ground_truth")
    assert [p.name for p in (place / "some" / "right").iterdir()] == ["val"]


def check_evaluation_of_audio(place):
    audio, rate = read_audio(place / "fairplay" / "binaural_audios" / "000005.wav")
    write_audio(place / "ground_truth_audio" / "000005.wav", audio, rate)
    write_audio(place / "generated_audio" / "000005.wav", audio.flip(0), rate)
    said = scripts.run(place, "evaluate_audio")
    for name in ("pesq", "stoi", "mcd", "ild_db"): assert name in said
    assert "1 recordings of two ears" in said


REFUSED = [
    ("python train_fairplay.py --audRate 16000", "--audRate 16000 is refused: only 22050; the two stages share one mel"),
    ("python train_fairplay.py --id nobody", "there is no run to go on with"),
    ("python train_fairplay.py --id fairplay_exp --lr_unet 1", "other settings: lr was 0.0001 and is 1.0"),
    ("python train_fairplay.py --id x --list_train /path/to/fairplay/train.csv --list_val /path/to/fairplay/train.csv", "3 of 3 clips of --list_val are in --list_train"),
    ("python train_fairplay.py --id fairplay_exp --num_gpus 1 --gpu_ids 77", "there is no such GPU"),
    ("python train_fairplay.py --id fairplay_exp --num_gpus 1", "batch_size was 2 and is 1"),
    ("python test_fairplay.py --id fairplay_exp --num_epoch 5", "--num_epoch is refused: it belongs to training"),
    ("python test_fairplay.py --id nobody --list_val /path/to/fairplay/test.csv", "no run 'nobody'"),
    ("python test_realBinaural.py --id fairplay_exp", "a run of the other script"),
    ("python evaluate_binaural_22050.py --pred_dir ./nowhere --gt_dir ./nowhere", "is not a folder"),
]


def check_refusals(place):
    for command, why in REFUSED: assert why in refused(scripts.run, place, command)


def check_from_a_shell(place):
    script, flags = scripts.words(place, "python train_fairplay.py --loss mse")
    done = shell(sys.executable, script, *flags, cwd=place)
    assert done.returncode == 2 and done.stderr == "spatialbook: --loss mse is refused: choose l1, l2.\n"
    assert scripts.are_short()


def test_the_readme(place):
    "One test: every part needs what those before it have made."
    for check in (check_training, check_the_lines_that_load, check_tensorboard, check_goes_on_alone, check_killed, check_generation, check_evaluation_of_mels, check_whole_pipeline,
                  check_evaluation_of_audio, check_refusals, check_from_a_shell):
        check(place)
