"""Puts the workflow into the package that is built, so that clipgrid.snakefile() is there where
clipgrid is installed. All else stands in pyproject.toml."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

PAPER = ("Snakefile", "workflow", "notebooks", "report", "envs")


class WithWorkflow(build_py):
    def run(self):
        super().run()
        paper = Path(self.build_lib, "clipgrid", "paper")
        for name in PAPER if not self.editable_mode else ():
            paper.mkdir(exist_ok=True)
            if Path(name).is_dir():
                shutil.copytree(name, paper / name, dirs_exist_ok=True)
            else:
                shutil.copy(name, paper / name)


setup(cmdclass={"build_py": WithWorkflow})
