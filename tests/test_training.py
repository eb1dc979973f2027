"""What the notebooks of the engine cannot show: real processes, killed and launched from a shell.

The program under test is this file itself: `python tests/test_training.py --out DIR ...` trains a toy.
"""
import json
import math
import os
import signal
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from helping import ROOT, same_bits, shell
from torch import nn

from spatialbook.checkpoints import load_run, read_folder, read_rows
from spatialbook.core import SpatialbookError, guarded, parse_config
from spatialbook.training import Recipe, TrainConfig, Trainer


@dataclass
class ToyConfig(TrainConfig):
    "A toy."
    kill_step: int = -1  # SIGKILL in the middle of this step
    kill_save: int = -1  # SIGKILL before this rename of a checkpoint folder
    kill_rank: int = 0  # which process dies
    free = [*TrainConfig.free, "kill_step", "kill_save", "kill_rank"]


class Points(torch.utils.data.Dataset):
    def __init__(self, n): self.n = n
    def __len__(self): return self.n
    def __getitem__(self, i):
        x = torch.tensor([i / self.n - .5]) + .01 * torch.randn(1)
        return {"x": x, "y": 2 * x - 1}


class Toy(Recipe):
    "Dropout, a batch norm, a running number of its own: everything a checkpoint can forget."
    def __init__(self, config):
        torch.manual_seed(0)
        self.config, self.seen = config, torch.zeros(())
        self.modules = {"net": nn.Sequential(nn.Linear(1, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(.1), nn.Linear(8, 1))}

    def optimizers(self): return {"adam": torch.optim.AdamW(self.modules["net"].parameters(), lr=.02)}

    def training_step(self, batch, step):
        loss = (self.modules["net"](batch["x"]) - batch["y"]).square().mean() + 1e-3 * self.seen
        self.seen = .9 * self.seen + .1 * loss.detach()
        if step == self.config.kill_step and int(os.environ.get("RANK", 0)) == self.config.kill_rank: os.kill(os.getpid(), signal.SIGKILL)
        return {"loss": loss}

    def extra_state(self): return {"seen": self.seen}
    def load_extra_state(self, state): self.seen = state["seen"]


def settings(out, **kw):
    return ToyConfig(**(dict(out=str(out), max_steps=12, batch_size=4, eval_every=6, save_every=4, log_every=2, ema=.9, schedule="cosine", trackers=()) | kw))


def train(config):
    if config.kill_save >= 0:
        left, replace_ = [config.kill_save], os.replace
        def dying(source, target):
            if Path(target).name in ("last", ".last.old"):
                if left[0] == 0: os.kill(os.getpid(), signal.SIGKILL)
                left[0] -= 1
            return replace_(source, target)
        os.replace = dying
    trainer = Trainer(Toy(config), config)
    trainer.fit(Points(30), Points(10))
    rank, world = trainer.accelerator.process_index, trainer.accelerator.num_processes
    state = {k: v.tolist() for k, v in trainer.recipe.modules["net"].state_dict().items() if "running" not in k}  # each process counts its own statistics; rank 0's are kept
    (Path(config.out) / f"rank{rank}.json").write_text(json.dumps(dict(world=world, state=state)))


def flags(config):
    words = []
    for k in ("out", "max_steps", "batch_size", "eval_every", "save_every", "log_every", "ema", "schedule", "kill_step", "kill_save", "kill_rank"): words += [f"--{k}", getattr(config, k)]
    return [*words, "--trackers", ""]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    "A run that nobody disturbed."
    out = tmp_path_factory.mktemp("runs") / "whole"
    train(settings(out))
    return out


def test_killed_from_a_shell_and_started_again(whole, tmp_path):
    killed = shell(sys.executable, __file__, *flags(settings(tmp_path, kill_step=9)))
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    again = shell(sys.executable, __file__, *flags(settings(tmp_path)))
    assert again.returncode == 0, again.stderr
    assert same_bits(whole, tmp_path, 5)


def test_every_rename_of_a_save(whole, tmp_path):
    import multiprocessing
    for n in range(7):  # steps 0, 4, 8, 12: one rename, then two each
        out = tmp_path / str(n)
        process = multiprocessing.get_context("fork").Process(target=train, args=(settings(out, kill_save=n),))
        process.start()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        train(settings(out))
        assert same_bits(whole, out, 5), n


def launched(config):
    "Train in two processes, as the documentation says."
    return shell(Path(sys.executable).with_name("accelerate"), "launch", "--config_file", ROOT / "configs" / "cpu2.yaml", "--main_process_port", 0, __file__, *flags(config))


def test_two_processes_from_a_shell(tmp_path):
    pair, killed = tmp_path / "pair", tmp_path / "killed"
    done = launched(settings(pair))  # judged by what it wrote: torch may abort while it takes its threads down
    assert (pair / "rank0.json").exists() and (pair / "rank1.json").exists(), done.stderr
    first, second = (json.loads((pair / f"rank{r}.json").read_text()) for r in (0, 1))
    assert first["world"] == second["world"] == 2
    assert first["state"] == second["state"]
    assert load_run(pair, "last").state["world"] == 2
    assert read_rows(pair / "metrics.jsonl")[-1]["clips"] == {"loss": 10}
    assert launched(settings(killed, kill_step=9, kill_rank=1)).returncode != 0  # one of the two dies, the other cannot go on alone
    assert load_run(killed, "last").state["step"] == 8
    again = launched(settings(killed))
    assert same_bits(pair, killed, 5), again.stderr


def test_damage_is_one_line(tmp_path):
    train(settings(tmp_path))
    file = tmp_path / "last" / "net.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    again = shell(sys.executable, __file__, *flags(settings(tmp_path)))
    assert again.returncode == 2
    line, = again.stderr.strip().splitlines()
    assert str(file) in line and "damaged" in line and "Delete" in line
    load_run(tmp_path)  # the best weights are whole
    with pytest.raises(SpatialbookError, match="damaged"): load_run(tmp_path, "last")


def test_not_finite(tmp_path):
    class Broken(Toy):
        def training_step(self, batch, step): return {"loss": super().training_step(batch | ({"x": batch["x"] / 0} if step in self.broken else {}), step)["loss"], "silent": torch.tensor(math.nan)}
    recipe = Broken(settings(tmp_path))
    recipe.broken = {3, 4}
    result = Trainer(recipe, settings(tmp_path / "some", max_bad_steps=3)).fit(Points(30), Points(10))
    rows = read_rows(tmp_path / "some" / "metrics.jsonl")
    assert result["skipped"] == 2 and [r["step"] for r in rows if "skipped" in r] == [4, 5] and len(rows[1]["clips"]) == 4
    assert all(r["silent"] is None for r in rows if "loss" in r)  # a diagnosis may be NaN: it is logged as missing, and the step counts
    assert all(v.isfinite().all() for v in recipe.modules["net"].state_dict().values())  # the batch norm did not keep the broken batch
    recipe.broken = set(range(100))
    with pytest.raises(SpatialbookError, match="no finite step in 3 steps"): Trainer(recipe, settings(tmp_path / "all", max_bad_steps=3)).fit(Points(30))
    weights, state = read_folder(tmp_path / "all" / "dump")
    assert state["batch"]["x"].shape == (4, 1) and len(state["clips"]) == 4


def test_limits_and_precision(tmp_path):
    fit = lambda name, **kw: Trainer(Toy(c := settings(tmp_path / name, **kw)), c).fit(Points(30), Points(10))
    assert fit("epochs", max_steps=0, epochs=2.)["step"] == 15
    timed = fit("minutes", max_steps=0, max_minutes=.01)
    assert timed["step"] > 0 and timed["minutes"] >= .01
    assert fit("minutes", max_steps=0, max_minutes=.01)["step"] == timed["step"]  # the minutes of the first run count
    fit("half", precision="bf16")
    assert math.isfinite(read_rows(tmp_path / "half" / "metrics.jsonl")[-1]["validation"]["loss"])
    a, b = (fit(n, accumulate=k) for n, k in (("one", 1), ("parts", 2)))
    assert a["step"] == b["step"]
    with pytest.raises(SpatialbookError, match="empty"): Trainer(Toy(c := settings(tmp_path / "none")), c).fit([])


def test_own_order(tmp_path):
    class Ordered(Toy):
        asked = []
        def indices(self, step, n, batch_size): return [(step + k) % n for k in range(batch_size)]
        def training_step(self, batch, step):
            self.asked.append(batch["i"].tolist())
            return super().training_step(batch, step)
    class Named(Points):
        def __getitem__(self, i): return super().__getitem__(i) | {"i": i}
    recipe = Ordered(config := settings(tmp_path))
    Trainer(recipe, replace(config, max_steps=3)).fit(Named(30))
    assert recipe.asked == [[0, 1, 2, 3], [1, 2, 3, 4], [2, 3, 4, 5]]


if __name__ == "__main__":
    guarded(lambda: train(parse_config(ToyConfig)))()
