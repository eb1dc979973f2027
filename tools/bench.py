"""How much faster are the fast ways than the plain ones? Runs the notebooks' benchmark cells and writes data/runs/bench.json.

    python tools/bench.py [--only NAME]

A benchmark is a code cell that leaves two functions without arguments, `plain` and `fast`, which compute the same thing (a cell above it
proves that they do). Its first line keeps it out of the tests, its second line names it:

    #| slow
    # bench: NAME
    plain, fast = lambda: by_the_book(x), lambda: quickly(x)
    facts = dict(plain_gflop=..., fast_gflop=...)

`facts`, which may be left out, holds numbers that are counted rather than timed (operations, bytes, calls, the largest difference between the
two ways); they stand beside the ratio.

Each notebook runs in a process of its own down to its last benchmark. Both functions are called once to warm up and then in turn, so that
whatever else the machine does hits both. Only ratios are kept: seconds of one machine say nothing about another. A benchmark that fails is
kept with the reason in the place of its ratio, the others are run, and the end is exit code 1.
"""
import argparse
import json
import math
import multiprocessing
import os
import re
import statistics
import sys
import time
import traceback
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NAME = re.compile(r"#\|\s*slow\s*\n#\s*bench:\s*(\S+)")
SECONDS, TURNS = 20, 15  # stop after so long or so often, but not before 3 turns


def names(path):
    "The benchmarks of a notebook."
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [found[1] for c in cells if c["cell_type"] == "code" and (found := NAME.match("".join(c["source"])))]


def compare(plain, fast):
    "How many times as long `plain` takes: median, least and most over the turns."
    def seconds(function):
        start = time.perf_counter()
        function()
        return time.perf_counter() - start
    plain(), fast()
    ratios, end = [], time.perf_counter() + SECONDS
    while len(ratios) < 3 or (len(ratios) < TURNS and time.perf_counter() < end):
        ratios.append(seconds(plain) / seconds(fast))
    return dict(speedup=round(statistics.median(ratios), 2), least=round(min(ratios), 2), most=round(max(ratios), 2), turns=len(ratios))


def counted(facts, name):
    "What a benchmark counted, to six digits; anything but finite numbers is an error."
    wrong = [k for k, v in facts.items() if isinstance(v, bool) or not isinstance(v, (int, float)) or not math.isfinite(v)]
    if wrong:
        raise RuntimeError(f"{name}: facts are finite numbers, not {', '.join(f'{k}={facts[k]!r}' for k in wrong)}")
    return {k: v if isinstance(v, int) else float(f"{v:.6g}") for k, v in facts.items()}


def run(task):
    "The cells of a notebook that tests run too, and the benchmarks that are wanted."
    from execnb.nbio import read_nb
    from execnb.shell import CaptureShell
    from nbdev.config import get_config
    from nbdev.process import extract_directives
    path, wanted = task
    flags, shell, results = set(get_config(path=ROOT).tst_flags.split()), CaptureShell(path, mpl_format=None), {}
    os.chdir(path.parent)
    for cell in (c for c in read_nb(path).cells if c.cell_type == "code" and wanted - results.keys()):
        found, directives = NAME.match(cell.source), extract_directives(cell, remove=False)
        if found[1] not in wanted if found else flags & directives.keys() or directives.get("eval:") == ["false"]:
            continue
        shell.user_ns.pop("facts", None)  # those of the benchmark before
        try:
            shell.run(cell.source)
            if shell.exc:
                raise shell.exc
            if found:
                facts = counted(shell.user_ns.get("facts", {}), found[1])
                results[found[1]] = dict(notebook=path.relative_to(ROOT).as_posix(), **compare(shell.user_ns["plain"], shell.user_ns["fast"]), **({"facts": facts} if facts else {}))
        except Exception as error:  # of a cell that all need: none of them can be run
            line = traceback.extract_tb(error.__traceback__)[-1].line
            why = dict(notebook=path.relative_to(ROOT).as_posix(), failed=f"{type(error).__name__}: {error} in {line or cell.source}")
            results |= dict.fromkeys([found[1]] if found else wanted - results.keys(), why)
    return results


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", metavar="NAME", help="one benchmark; the other entries of the file stay as they are")
    only = parser.parse_args().only
    os.environ.pop("IN_TEST", None)
    os.environ.update(MPLBACKEND="agg", SPATIALBOOK_QUIET="1")
    tasks = [(p, {n for n in names(p) if only in (None, n)}) for p in sorted((ROOT / "nbs").rglob("*.ipynb")) if ".ipynb_checkpoints" not in p.parts]
    tasks, out = [t for t in tasks if t[1]], ROOT / "data" / "runs" / "bench.json"
    if only and not tasks:
        sys.exit(f"no benchmark is called '{only}'")
    benchmarks = json.loads(out.read_text())["benchmarks"] if only and out.exists() else {}
    failed = []
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        for results in pool.imap(run, tasks):
            benchmarks |= results
            failed += [name for name, r in results.items() if "failed" in r]
            for name, r in results.items():
                print(f"{name:32s}  FAILED: {r['failed']}" if "failed" in r else f"{name:32s}{r['speedup']:8.2f} times as fast ({r['least']} to {r['most']} in {r['turns']} turns)" + "".join(f"\n{'':10s}{k} {v:g}" for k, v in r.get("facts", {}).items()), flush=True)
    import torch
    machine = dict(cpus=os.cpu_count(), threads=torch.get_num_threads(), torch=torch.__version__, python=sys.version.split()[0])
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(dict(machine=machine, benchmarks=dict(sorted(benchmarks.items()))), indent=1) + "\n")
    print(f"{len(benchmarks)} benchmarks in {out.relative_to(ROOT)}")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")
