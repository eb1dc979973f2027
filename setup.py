"""Packaging shim: every value comes from `settings.ini`, the file nbdev itself reads."""
from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup

here = Path(__file__).parent
ini = ConfigParser(delimiters=["="])
ini.read(here / "settings.ini", encoding="utf-8")
cfg = ini["DEFAULT"]

# The weights a user runs by default travel in the wheel, so that `binauralize` works without the checkout. They lie outside the
# package's folder, and a module is called `checkpoints` already: in the wheel they are `spatialbook/weights/<chapter>/ours.safetensors`.
weights = {cfg["lib_name"] + ".weights": "data/checkpoints"} if (here / "data" / "checkpoints").is_dir() else {}

setup(
    name=cfg["lib_name"],
    version=cfg["version"],
    description=cfg["description"],
    long_description=(here / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    keywords=cfg["keywords"],
    author=cfg["author"],
    author_email=cfg["author_email"],
    license="Apache-2.0",
    url=cfg["git_url"],
    python_requires=">=" + cfg["min_python"],
    packages=find_packages(include=[cfg["lib_name"], cfg["lib_name"] + ".*"]) + list(weights),
    package_dir=weights,
    package_data={name: ["*/ours.safetensors", "*/ours.json"] for name in weights},
    install_requires=cfg["requirements"].split(),
    extras_require={"dev": cfg["dev_requirements"].split(), "eval": cfg["eval_requirements"].split(), "download": cfg["download_requirements"].split()},
    entry_points={
        "console_scripts": [line.strip() for line in cfg["console_scripts"].splitlines() if line.strip()],
        "nbdev": ["spatialbook=spatialbook._modidx:d"],
    },
    zip_safe=False,
)
