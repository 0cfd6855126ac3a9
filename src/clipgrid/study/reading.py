"""Files that people write, as data: one error, in words, for what can't be read."""

import re
from pathlib import Path
from typing import Any

import yaml

from clipgrid.study.faults import StudyError, listed
from clipgrid.study.fields import on_a_line

MOST_VALUES = 100_000  # of a file, with what its aliases stand for written out
UNREADABLE = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
"""What no file of the report could show: control characters, and halves of characters."""


def read(path: Path) -> Any:
    """The content of a YAML or JSON file. StudyError for a file that isn't YAML, says a key twice,
    or is code to Snakemake."""
    try:
        with path.open(encoding="utf-8") as file:
            content = yaml.load(file, Plain)
    except RecursionError:
        raise StudyError(f"{path} can't be read: it is nested too deeply") from None
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise StudyError(f"{path} can't be read: {error}") from None
    if isinstance(content, dict) and "__use_yte__" in content:
        why = "by this key Snakemake runs expressions in the file; a study is data: leave it out"
        raise StudyError(listed([("__use_yte__", why)], f"{path} can't be run"))
    return content


class Plain(yaml.SafeLoader):
    """YAML in which a key that is given twice is an error, not the last one's win; and in which no
    alias stands for itself, or for more than anybody would write out."""

    def construct_document(self, node: yaml.Node) -> Any:
        if size(node, {}) > MOST_VALUES:
            raise error_at(
                node, f"with its aliases written out, it has more than {MOST_VALUES} values"
            )
        return super().construct_document(node)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise error_at(key, "a key must be a word or a number")
            if key.value in seen:
                raise error_at(key, f"key {on_a_line(key.value)} is given twice")
            seen.add(key.value)
        return super().construct_mapping(node, deep)

    def construct_scalar(self, node: yaml.ScalarNode | yaml.MappingNode) -> Any:
        text = super().construct_scalar(node)
        if UNREADABLE.search(text):  # JSON spells a character beyond U+FFFF as two halves
            text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
            if UNREADABLE.search(text) or "\ufffd" in text:
                raise error_at(node, "a control character, or half a character, can't be shown")
        return text


def size(node: yaml.Node, known: dict[yaml.Node, float]) -> float:
    """How many values a node stands for; infinitely many, if it contains itself."""
    if node not in known:
        known[node] = float("inf")
        inside = [node.value] if isinstance(node, yaml.SequenceNode) else node.value
        parts = () if isinstance(node, yaml.ScalarNode) else (n for some in inside for n in some)
        known[node] = 1 + sum(size(part, known) for part in parts)
    return known[node]


def error_at(node: yaml.Node, why: str) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(None, None, why, node.start_mark)
