"""The experiments in configs/ are installed as ser.configs, so that the library has them without a clone; all else is in pyproject.toml."""

from setuptools import find_packages, setup

setup(packages=[*find_packages("src"), "ser.configs"], package_dir={"": "src", "ser.configs": "configs"})
