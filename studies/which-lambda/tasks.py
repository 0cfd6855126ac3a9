"""The tasks, as studies; and what of them and of the rules is frozen."""

import hashlib
import sys
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
FROZEN = HERE / "frozen.yaml"
CONTENT = yaml.safe_load((HERE / "tasks.yaml").read_text(encoding="utf-8"))
HELD_OUT = list(CONTENT["held_out"])


def digests() -> dict[str, str]:
    """The SHA-256 of the rules and how they are scored, the tasks, and the tasks' parts."""
    files = (HERE / name for name in ("candidates.py", "tasks.yaml", "parts.py"))
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def frozen() -> dict[str, Any]:
    """What was frozen; nothing, if nothing was yet. Ends with an error where it was changed."""
    if not FROZEN.exists():
        return {}
    content = yaml.safe_load(FROZEN.read_text(encoding="utf-8"))
    if content["sha256"] != digests():
        sys.exit(f"{FROZEN} was written for other rules or tasks than those beside it")
    return content


def studies() -> dict[str, dict[str, Any]]:
    """A study for each task: those that are open and, once the rules are frozen, those that were
    held out."""
    named = CONTENT["open"] | (CONTENT["held_out"] if frozen() else {})
    return {
        name: {
            **CONTENT["common"],
            **{key: value for key, value in task.items() if key != "batch"},
            "title": f"Which λ? {name.replace('_', ', ')}",
            "results": f"results/which-lambda/{name}",
            "training": {"batch_size": task["batch"], "evaluate_every": 100, "job_seconds": 600},
        }
        for name, task in named.items()
    }
