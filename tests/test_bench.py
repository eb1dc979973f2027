"""A benchmark that fails is recorded with its reason; the others are run, the file is written, and the end is exit code 1."""
import json
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

CELLS = dict(
    one=["x = 1", "#| slow\n# bench: claim\nassert x > 2, 'x is small'\nplain = fast = lambda: x", "#| slow\n# bench: sound\nplain = fast = lambda: sum(range(1000))"],
    two=["assert 1 > 2, 'never'", "#| slow\n# bench: unreached\nplain = fast = lambda: 1"],
    zwei=["#| slow\n# bench: broken\ndef plain(): raise ValueError('no')\nfast = plain", "#| slow\n# bench: later\nplain = fast = lambda: 1"],
)


def test_a_failing_benchmark_does_not_end_the_others(tmp_path):
    for folder in ("tools", "nbs"): (tmp_path / folder).mkdir()
    shutil.copy(ROOT / "tools" / "bench.py", tmp_path / "tools")
    for name in ("settings.ini", "pyproject.toml"): shutil.copy(ROOT / name, tmp_path)
    for name, cells in CELLS.items():
        notebook = dict(cells=[dict(cell_type="code", id=f"{name}{i}", source=c, metadata={}, outputs=[], execution_count=None) for i, c in enumerate(cells)], metadata={}, nbformat=4, nbformat_minor=5)
        (tmp_path / "nbs" / f"{name}.ipynb").write_text(json.dumps(notebook))
    done = subprocess.run([sys.executable, "tools/bench.py"], cwd=tmp_path, capture_output=True, text=True)
    rows = json.loads((tmp_path / "data/runs/bench.json").read_text())["benchmarks"]
    assert done.returncode == 1 and "failed: claim" in done.stderr
    assert "x is small" in rows["claim"]["failed"] and "never" in rows["unreached"]["failed"] and "no" in rows["broken"]["failed"]
    assert rows["sound"]["speedup"] > 0 and rows["later"]["speedup"] > 0 and {r["notebook"] for r in rows.values()} == {f"nbs/{name}.ipynb" for name in CELLS}
