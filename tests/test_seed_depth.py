"""The commands of the binaural-attention README, as they stand there, on small corpora in both published layouts.

Only what keeps them small, and where the corpus is, is appended; later flags override earlier ones. The scripts run in this process, but for the shell script and the two processes of `accelerate`.
"""
import json
import shlex
import sys
from contextlib import chdir, redirect_stdout
from io import StringIO
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import soundfile
import torch
from helping import ROOT, Scripts, own_home, refused, shell
from PIL import Image

from spatialbook.checkpoints import load_run, read_rows, save_folder
from spatialbook.core import home
from spatialbook.scenes.echo import EchoConfig, echo, write_corpus
from spatialbook.scorecard import Scorecard

HOME = home().resolve()

README = dict(
    basic=r"""python train_binaural_attention.py \
  --dataset batvisionv2 \
  --batch_size 64 \
  --learning_rate 0.001 \
  --nb_epochs 200 \
  --use_wandb \
  --experiment_name binaural_v1""",
    adaptive=r"""python train_binaural_attention.py \
  --dataset batvisionv2 \
  --batch_size 64 \
  --use_adaptive_loss \
  --use_wandb \
  --experiment_name binaural_adaptive_v1""",
    test=r"""python train_binaural_attention.py \
  --base_channels 32 \
  --attention_levels 3 4 5 \
  --batch_size 128 \
  --nb_epochs 50 \
  --experiment_name binaural_test""",
    standard=r"""python train_binaural_attention.py \
  --batch_size 64 \
  --nb_epochs 100 \
  --attention_levels 3 4 5""",
)
SMALL = "--base_channels 8 --images_size 32 --batch_size 2 --nb_epochs 2 --trackers ''"


scripts = Scripts("binaural_attention", README)
run = scripts.run


def evaluate(place, words):
    from spatialbook.depth.evaluate import main
    with chdir(place), redirect_stdout(StringIO()) as said: main(shlex.split(words))
    return said.getvalue()


def write_v1(root):
    "Sessions, an ear a file, 980 samples before the sweep, millimetres with all three kinds of holes."
    for split, seeds in dict(train=(3, 4, 5, 6), val=(100_000,), test=(200_000, 200_001)).items():
        table = [("", "time", "camera path left", "audio path left", "audio path right", "depth path")]
        for s in seeds:
            clip, day = echo(s, EchoConfig(duration=0.1, height=32, width=32, zoom=1)), f"2019.08.{20 + s % 2}"
            names = [f"{day}/{k}/{s:06d}.{e}" for k, e in (("camera", "jpg"), ("audio/left", "npy"), ("audio/right", "npy"), ("depth", "npy"))]
            for n in names: (root / n).parent.mkdir(parents=True, exist_ok=True)
            for ear in (0, 1): np.save(root / names[1 + ear], np.pad(clip.audio[ear].numpy(), (980, 0)))
            z = 1000 * clip.truth["depth"].numpy()
            z[z == 0], z[0, :3] = np.nan, (np.inf, -np.inf, np.nan)
            np.save(root / names[3], z)
            Image.fromarray(clip.frames[0].numpy()).save(root / names[0])
            table.append((s, s, *names))
        (root / f"{split}.csv").write_text("\n".join(",".join(map(str, r)) for r in table) + "\n")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    "Both corpora, each where the seed's flags look for it: `home()`, which is here."
    place = tmp_path_factory.mktemp("depth")
    with own_home(place):
        write_corpus(place / "home" / "BatvisionV2", 8, workers=1, config=EchoConfig(height=32, width=32, zoom=1))
        write_v1(place / "home" / "BatvisionV1")
        yield place


def test_the_readme(place):
    "V2, as it is typed, two epochs; one more; and what the original leaves behind."
    said = run(place, "basic", SMALL)
    assert "needs at least" in said and "batvisionv2" in json.loads((place / "checkpoints/binaural_v1/config.json").read_text())["dataset"]
    out = place / "checkpoints" / "binaural_v1"
    kept = torch.load(out / "best_model.pth", weights_only=True)
    assert {"epoch", "model_state_dict", "val_errors"} <= set(kept)
    assert sorted(p.name for p in (place / "results" / "binaural_v1").iterdir()) == ["epoch_0001_prediction.png", "epoch_0002_prediction.png"]
    steps = load_run(out, "last").state["step"]
    run(place, "basic", SMALL + " --nb_epochs 3 --checkpoints 2")
    assert load_run(out, "last").state["step"] == steps * 3 // 2
    assert "was stopped at epoch 3.0, not at 1" in refused(run, place, "basic", SMALL + " --nb_epochs 4 --checkpoints 1")
    sys.path.insert(0, str(scripts.folder))
    try:
        from models.binaural_attention_model import BinauralAttentionDepthNet
        from utils_binaural_attention_loss import AdaptiveBinauralAttentionLoss
    finally: sys.path.remove(str(scripts.folder))
    from spatialbook.depth.reference import ReferenceConfig
    BinauralAttentionDepthNet(ReferenceConfig(8)).load_state_dict(kept["model_state_dict"])
    assert AdaptiveBinauralAttentionLoss().weights(80) == (1.0, 0.2, 0.1)


def test_v1_and_the_other_corpus(place):
    "V1 trains and resumes; its run is judged on V1, and on V2 with what does not fit said aloud."
    words = SMALL + " --dataset batvisionv1 --experiment_name v1"
    run(place, "adaptive", words)
    run(place, "adaptive", words + " --nb_epochs 3")
    config = json.loads((place / "checkpoints/v1/config.json").read_text())
    assert (config["dataset"], config["use_adaptive_loss"], load_run(place / "checkpoints" / "v1", "last").state["step"]) == ("batvisionv1", True, 6)
    said = evaluate(place, "--data home/BatvisionV1 --checkpoint checkpoints/v1 --n 0 --out own")
    assert "trained on" not in said and "nobody has measured it" in said and Scorecard.load(place / "own").n == 2
    assert {"ours", "mean_map", "swapped_ears", "shuffled_echo"} <= set(Scorecard.load(place / "own").rows)
    said = evaluate(place, "--data home/BatvisionV2 --checkpoint checkpoints/v1 --n 0 --out other --scale median --hfov 70")
    assert "trained on batvisionv1, judged on batvisionv2" in said and "never deeper than 12 m" in said and "scaled to the truth's median" in said and "reframed to 70" in said
    assert "hears 70.6 ms, as in its training; this corpus is published with 176.5" in said
    assert "V1" in refused(run, place, "basic", SMALL + " --dataset_path home/BatvisionV1")  # the README's --dataset says V2


def test_evaluate_by_the_published_names(place):
    "--dataset alone means the corpus in `home()`, --dataset_path is --data; what does not fit is refused before anything is loaded."
    from spatialbook.depth.settings import DepthConfig
    from spatialbook.depth.train import DepthRecipe
    net = DepthRecipe(DepthConfig(model="unet", base_channels=8, images_size=32, dataset="batvisionv1"))
    save_folder(place / "fresh" / "best", {k: m.state_dict() for k, m in net.modules.items()}, dict(config=net.config.plain()))
    common, cards = " --checkpoint fresh --unet fresh --n 0 --out ", {}
    for name, words in dict(data="--data home/BatvisionV1", dataset="--dataset batvisionv1", path="--dataset_path home/BatvisionV1").items():
        assert "trained on" not in evaluate(place, words + common + name)
        cards[name] = Scorecard.load(place / name)
    assert cards["data"].n == 2 and cards["data"].rows == cards["dataset"].rows == cards["path"].rows
    assert "is not a folder" in refused(evaluate, place, "--dataset batvisionv1 --dataset_path nowhere" + common + "x")
    assert "V1, and --dataset says batvisionv2" in refused(evaluate, place, "--dataset batvisionv2 --dataset_path home/BatvisionV1" + common + "x")
    assert "choose batvisionv1" in refused(evaluate, place, "--dataset batvisionv3" + common + "x")


def test_one_column_a_moment(place):
    "The same recording, cut to the length of any corpus, is the same to a network: the published front end does not squeeze it anew."
    from spatialbook.depth.settings import DepthConfig
    from spatialbook.depth.ship import listener
    click = torch.nn.functional.pad(torch.ones(1, 2, 1), (882, 10000))
    for dataset, length in dict(batvisionv1=3112, embedded=3328, batvisionv2=7782).items():
        net = listener(DepthConfig(model="unet", base_channels=8, images_size=64, dataset=dataset))
        assert net.config.samples == length
        answers = [net(click[..., :n]) for n in (3112, 3328, 7782)]
        assert all(torch.equal(a, answers[0]) for a in answers)


def test_the_baseline_hears_levels():
    "BatVision's U-Net takes magnitudes as they are; weights from before there was a choice keep the stretch that they were trained with."
    from spatialbook.depth.frontend import features
    from spatialbook.depth.settings import kept_settings, settings
    from spatialbook.depth.train import build
    waves = echo(3, EchoConfig(duration=0.1, zoom=0)).audio[None]
    weaker = waves * torch.tensor([[1.0], [10 ** (-12 / 20)]])
    for words, least, most in (("", 0.4, 1.0), ("--norm log_minmax", 0.0, 0.05)):
        config = settings(shlex.split("--model unet --base_channels 8 " + words))
        front = build(config).front
        x, y = features(waves, front), features(weaker, front)
        assert least <= (x - y).norm() / x.norm() <= most
        assert kept_settings(config.plain()).norm == front.norm
        assert kept_settings({k: v for k, v in config.plain().items() if k != "norm"}).norm == "log_minmax"


def test_the_examples_script(place):
    script = scripts.folder / "run_binaural_attention_examples.sh"
    done = shell("sh", script, "test", *shlex.split(SMALL), "--nb_epochs", "1", cwd=place, PYTHON=sys.executable)
    assert done.returncode == 0, done.stderr
    assert (place / "checkpoints" / "binaural_test" / "best_model.pth").exists()
    assert shell("sh", script, "nobody", cwd=place, PYTHON=sys.executable).returncode == 2
    text = script.read_text()
    for command in README.values(): assert " ".join(command.replace("\\\n", " ").split()[2:]) in text


def test_distillation(place):
    "A teacher that sees, and a student of it."
    run(place, "python train_rgb_depth.py --out teacher", SMALL.replace("--nb_epochs 2", "--nb_epochs 1"))
    run(place, "python train_binaural_attention.py --model adabins --teacher teacher --out student", SMALL.replace("--nb_epochs 2", "--nb_epochs 1") + " --log_every 1")
    assert all(np.isfinite(r["taught"]) for r in read_rows(place / "student" / "metrics.jsonl") if "loss" in r)
    assert "looks, and does not listen" in refused(evaluate, place, "--data home/BatvisionV2 --checkpoint teacher --out x")


ODD = [
    (lambda c: np.save(c / "Simulated_Rooms/depth/depth_0.npy", np.full((9, 9), np.nan)), "has no valid depth"),
    (lambda c: soundfile.write(c / "Simulated_Rooms/audio/audio_1.wav", np.zeros(9999), 44100), "two ears are needed"),
    (lambda c: (c / "Simulated_Rooms/train.csv").write_text("index,audio path\n1,x\n"), "has no column 'audio file name'"),
    (lambda c: (c / "Simulated_Rooms/val.csv").unlink(), "no such table"),
]


@pytest.mark.parametrize("spoil, why", ODD, ids=[w for _, w in ODD])
def test_odd_files(place, tmp_path, spoil, why):
    import shutil
    spoil(Path(shutil.copytree(place / "home" / "BatvisionV2", tmp_path / "c")))
    assert why in refused(run, tmp_path, "basic", SMALL + " --dataset_path c --out r")


def test_out_of_memory(place):
    with mock.patch("spatialbook.training.Trainer.fit", side_effect=torch.OutOfMemoryError("CUDA out of memory")):
        line = refused(run, place, "basic", SMALL + " --out memory")
    assert all(remedy in line for remedy in ("--batch_size 32", "--base_channels 48", "--attention_levels 4 5"))


def test_two_processes(tmp_path, monkeypatch):
    "Two processes share each batch and end where one ends, up to rounding (which Adam's first steps make larger where a gradient is next to nothing)."
    monkeypatch.setenv("SPATIALBOOK_HOME", str(HOME))
    words = "--scenes 20 --validation 3 --batch_size 4 --base_channels 16 --max_steps 3 --seed 1 --ema 0".split()
    launched = [Path(sys.executable).with_name("accelerate"), "launch", "--config_file", ROOT / "configs" / "cpu2.yaml", "--main_process_port", "0", "-m", "spatialbook.depth.train", *words, "--trackers", "", "--out", tmp_path / "pair"]
    done = shell(*launched, CUDA_VISIBLE_DEVICES="")
    from spatialbook.depth.train import main
    with redirect_stdout(StringIO()): main([*words, "--trackers", "", "--out", str(tmp_path / "alone")])
    pair, alone = (load_run(tmp_path / name, "last") for name in ("pair", "alone"))  # judged by what it wrote: torch may abort while it takes its threads down
    assert (pair.state["world"], alone.state["world"], pair.state["step"]) == (2, 1, 3), done.stderr
    apart = torch.cat([(pair.weights["net"][k].float() - v.float()).flatten().abs() for k, v in alone.weights["net"].items()])
    assert apart.mean() < 1e-5 and (apart < 1e-4).float().mean() > 0.99
    a, b = (load_run(tmp_path / name).state["validation"] for name in ("pair", "alone"))
    assert all(abs(a[k] - b[k]) < 1e-3 for k in b)
