"""The second stage's commands of DiffBinaural's README, as they stand there, on a small corpus.

Only what keeps them small is appended (`--max_steps 4`, ...); `/path/to` is a temporary folder. The shims run in this process, and in the processes it starts.
"""
import json
import signal
import sys
from contextlib import chdir, redirect_stdout
from dataclasses import asdict
from io import StringIO

import numpy as np
import pytest
import torch
from helping import Scripts, killed, refused, same_bits, shell

from spatialbook.audio import mel_spectrogram
from spatialbook.checkpoints import export_weights, load_run, read_rows
from spatialbook.commands import main as spatialbook
from spatialbook.core import launch, torch_generator
from spatialbook.metrics import unavailable
from spatialbook.sound import read_audio, write_audio
from spatialbook.vocoder.config import published
from spatialbook.vocoder.head import HeadConfig, StereoHead

README = dict(
    mel=r"""python train_binaural_mel.py \
    --mel_left_train_dir /path/to/generated_mels/left/train \
    --mel_right_train_dir /path/to/generated_mels/right/train \
    --audio_dir /path/to/real_dataset/processed/binaural_audios_22050Hz \
    --checkpoint_path ./checkpoints/bigvgan_stage2 \
    --config ./configs/bigvgan_binaural_22khz_80band_256x.json \
    --training_epochs 2000""",
    both=r"""python train_binaural_both.py \
    --mel_left_train_dir /path/to/generated_mels/left/train \
    --mel_right_train_dir /path/to/generated_mels/right/train \
    --mel_pred_left_dir /path/to/predicted_mels/left/train \
    --mel_pred_right_dir /path/to/predicted_mels/right/train \
    --audio_dir /path/to/real_dataset/processed/binaural_audios_22050Hz \
    --checkpoint_path ./checkpoints/bigvgan_scheduled \
    --config ./configs/bigvgan_binaural_22khz_80band_256x.json \
    --training_epochs 2000 \
    --use_scheduled_sampling""",
    inference=r"""python inference_e2e.py \
    --input_mels_left_dir /path/to/generated_mels/left/val \
    --input_mels_right_dir /path/to/generated_mels/right/val \
    --checkpoint_file ./checkpoints/bigvgan_scheduled/bigvgan/g_00000004 \
    --output_dir ./generated""",
    mels=r"""python inference_diffbinaural_mels.py \
    --left_mels_dir /path/to/generated_mels/left/val \
    --right_mels_dir /path/to/generated_mels/right/val \
    --checkpoint_file ./checkpoints/bigvgan_scheduled/bigvgan/g_00000004 \
    --config_file ./checkpoints/bigvgan_scheduled/bigvgan/config.json""",
)
NETWORK = dict(upsample_rates=[8, 8, 4], upsample_kernel_sizes=[16, 16, 8], upsample_initial_channel=16, resblock_kernel_sizes=[3], resblock_dilation_sizes=[[1]], segment_size=4096, batch_size=2)
SMALL = "--max_steps 4 --critic_width 2 --stdout_interval 1 --checkpoint_interval 2 --validation_interval 4"
CHOOSE = " --mel_left_val_dir /path/to/generated_mels/left/val --mel_right_val_dir /path/to/generated_mels/right/val"
GUESSES = " --mel_pred_left_val_dir /path/to/predicted_mels/left/val --mel_pred_right_val_dir /path/to/predicted_mels/right/val"


scripts = Scripts("bigvgan", README)


@pytest.fixture
def place(tmp_path, monkeypatch):
    "Three recordings, their mels, guesses of them, and the published JSON with few channels."
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # two processes on any machine
    torch.set_num_threads(1)  # threads of a parent do not survive a fork
    sounds = tmp_path / "real_dataset" / "processed" / "binaural_audios_22050Hz"
    for i in range(3):
        noise = 0.1 * torch.randn(2, 22050 // 2, generator=torch_generator("vocoder toy", i))
        ears = noise * torch.tensor([[1.0], [0.4]])
        write_audio(sounds / f"walk_{i}.wav", ears, 22050, "FLOAT")
        for kind, x in dict(generated_mels=ears, predicted_mels=0.7 * ears + 0.3 * ears.mean(0)).items():
            for side, mel in zip(("left", "right"), mel_spectrogram(x)):
                folder = tmp_path / kind / side / ("val" if i == 2 else "train")
                folder.mkdir(parents=True, exist_ok=True)
                np.save(folder / f"walk_{i}_0.00.npy", mel)
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "bigvgan_binaural_22khz_80band_256x.json").write_text(json.dumps(published("bigvgan_binaural_22khz_80band_256x") | NETWORK))
    return tmp_path


def check_training(place):
    "True mels first, then both; validation never falls back to the training data."
    said = scripts.run(place, "mel", SMALL + CHOOSE + GUESSES)
    assert "g_00000004" in said and "no folders to validate on" not in said
    said = scripts.run(place, "both", SMALL + " --stage1_checkpoint_path ./checkpoints/bigvgan_stage2 --load_stage1_checkpoint True")
    assert "no folders to validate on" in said
    for name in ("bigvgan_stage2", "bigvgan_scheduled"):
        out = place / "checkpoints" / name
        state = torch.load(out / "bigvgan" / "g_00000004", weights_only=True)["generator"]
        assert state["conv_pre.weight_v"].shape == (16, 80, 7)
        config = json.loads((out / "config.json").read_text())
        assert (config["lr"], config["frames"], config["batch_size"], config["mel_weight"], config["epochs"]) == (5e-5, 16, 2, 60.0, 2000.0)
        assert config["cqt"] and (config["critic_width"], config["cqt_width"], config["silence_threshold"]) == (2, 0, -50.0)
    first, second = (load_run(place / "checkpoints" / n, "last") for n in ("bigvgan_stage2", "bigvgan_scheduled"))
    assert second.state["earlier"] > 0 and first.state["step"] == second.state["step"] == 4
    assert {"true/mel", "predicted/mel"} <= set(load_run(place / "checkpoints" / "bigvgan_stage2").state["validation"])


def check_sampling_in_the_log(place):
    rows = [r for r in read_rows(place / "checkpoints" / "bigvgan_scheduled" / "metrics.jsonl") if "generator/sampling" in r]
    curve = [r["generator/sampling"] for r in rows]
    assert len(rows) == 4 and curve == sorted(curve) and curve[0] == 0 < curve[-1] <= 0.9
    assert all(f"critics/critic{i}" in rows[-1] for i in range(8))
    assert all(r["generator/sampling"] == 0 for r in read_rows(place / "checkpoints" / "bigvgan_stage2" / "metrics.jsonl") if "generator/sampling" in r)


def check_tensorboard(place):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    folder, = {p.parent for p in (place / "checkpoints" / "bigvgan_stage2").rglob("events.out*")}
    events = EventAccumulator(str(folder))
    events.Reload()
    tags = " ".join(events.Tags()["scalars"])
    assert all(name in tags for name in ("generator/mel", "critics/critic7", "true/mel", "predicted/mel"))


def check_killed(place):
    "Killed in the middle of a step and started again: the same bytes as undisturbed."
    from spatialbook.vocoder.per_ear import PerEarRecipe
    dead = "--checkpoint_path ./checkpoints/dead"
    extra = f"{SMALL} --stage1_checkpoint_path ./checkpoints/bigvgan_stage2"
    assert killed(PerEarRecipe, 3, scripts.run, place, "both", f"{extra} {dead}") == -signal.SIGKILL
    assert load_run(place / "checkpoints" / "dead", "last").state["step"] == 2
    scripts.run(place, "both", f"{extra} {dead}")
    whole, dead = (place / "checkpoints" / name for name in ("bigvgan_scheduled", "dead"))
    assert same_bits(whole, dead, 4)


def check_two_processes(place):
    def child(): scripts.run(place, "mel", f"{SMALL} --max_steps 2 --checkpoint_path ./checkpoints/two")
    launch(child, (), 2)
    out = load_run(place / "checkpoints" / "two", "last")
    assert out.state["world"] == 2 and out.state["step"] == 2 and (place / "checkpoints" / "two" / "bigvgan" / "g_00000002").exists()


def check_generation(place):
    head = StereoHead(HeadConfig(width=16, blocks=1))
    export_weights(dict(head=head), place / "head.safetensors", dict(config=asdict(head.config)))
    scripts.run(place, "inference", "--checkpoint ./head.safetensors")
    scripts.run(place, "mels", "--decoder per_ear")
    coherent, rate = read_audio(place / "generated" / "walk_2_0.00_binaural_generated.wav")
    alone, _ = read_audio(place / "generated_binaural_audio" / "walk_2_0.00_binaural.wav")
    frames = np.load(place / "generated_mels" / "left" / "val" / "walk_2_0.00.npy").shape[1]
    assert rate == 22050 and coherent.shape == alone.shape == (2, 256 * frames) and not torch.equal(coherent, alone)
    assert coherent[0].std() > coherent[1].std(), "levels are those of the mels"


def check_evaluation(place):
    "From run folders, on a folder of sounds."
    said = StringIO()
    with chdir(place), redirect_stdout(said):
        spatialbook(["vocoder", "evaluate", "--data", "real_dataset/processed/binaural_audios_22050Hz", "--n", "1", "--checkpoint", "head.safetensors", "--per_ear", "checkpoints/bigvgan_stage2", "--out", "scores", "--workers", "1"])
    rows = json.loads((place / "scores" / "scorecard.json").read_text())["rows"]
    assert {"ours", "ours_mels", "mono", "closed_form", "louder_leads", "mask", "oracle", "per_ear", "griffin_lim", "swapped"} == set(rows)
    assert {"itd_us", "ild_db", "ipd", "coherence", "complex_coherence", "mrstft", "periodicity"} <= set(rows["ours"]) and "ours - per_ear, paired:" in said.getvalue()
    assert all((m in rows["ours"]) == (unavailable(m) is None) for m in ("pesq", "stoi"))
    assert set(json.loads((place / "scores" / "facts.json").read_text())["rows"]["ours"]["itd_us"]) >= {"mean", "median", "worst"} and "ours (given the phase" in said.getvalue()


REFUSED = [
    ("both", "--config /path/to/none.json", "is not a readable JSON"),
    ("mel", "--audio_dir /path/to/generated_mels", "2 partners are missing: walk_0.wav, walk_1.wav"),
    ("python train_binaural_both.py --mel_left_train_dir /path/to/generated_mels/left/train --mel_right_train_dir /path/to/generated_mels/right/train --audio_dir /path/to/x --checkpoint_path ./x", "", "none were given"),
    ("both", CHOOSE, "none were given to validate on"),
    ("inference", "--use_cuda_kernel", "--use_cuda_kernel is refused"),
]


def check_refusals(place):
    for name, extra, why in REFUSED: assert why in refused(scripts.run, place, name, extra)


def check_from_a_shell(place):
    script, flags = scripts.words(place, "mel", "--config ./none.json")
    done = shell(sys.executable, script, *flags, cwd=place)
    assert done.returncode == 2 and done.stderr.startswith("spatialbook: ./none.json: is not a readable JSON"), done.stderr
    assert scripts.are_short()


def test_the_readme(place):
    "One test: every part needs what those before it have made."
    for check in (check_training, check_sampling_in_the_log, check_tensorboard, check_killed, check_two_processes, check_generation, check_evaluation, check_refusals, check_from_a_shell):
        check(place)
