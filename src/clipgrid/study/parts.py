"""Parts: what the grid's axes, the claims and the report name and some code does. Each is declared
where it is written, by a decorator that carries its name, its label, its limits; its settings are
the keyword-only parameters of what is decorated. Ours lie in the rooms of this package; anyone's
lie in a Python file or module that a study names under `extensions`. Imports no torch.

    @clip_kind("agc", label="AGC, λ = {}", observes="the norm of each unit, over its weights'")
    def clip_adaptively(gradients, weights, threshold, state, *, eps: Positive = 1e-3): ...
"""

import difflib
import hashlib
import importlib.util
import inspect
import pkgutil
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache, cached_property
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from clipgrid import InputError
from clipgrid.study import code
from clipgrid.study.borrowed import FILES, fitted, of_a_file
from clipgrid.study.faults import explained, place_of
from clipgrid.study.fields import canonical, shown
from clipgrid.study.settings import check_defaults, settings_of

F = TypeVar("F", bound=Callable)

ROOMS = (
    "clipgrid.models",
    "clipgrid.images",
    "clipgrid.training.parts",
    "clipgrid.judging.computations",
    "clipgrid.reporting.figures",
)
"""Where our own parts lie: all modules of these packages, which must not import torch at once."""


@dataclass(frozen=True, eq=False)
class Part:
    """What has a name on an axis: `run` is the code, `settings` the model of its keyword-only
    parameters, `about` what its kind asks for besides."""

    kind: str
    name: str
    label: str
    run: Callable
    settings: type[BaseModel]
    about: Mapping[str, Any]

    @cached_property
    def file(self) -> Path:
        return Path(inspect.getfile(inspect.unwrap(self.run)))

    @property
    def is_ours(self) -> bool:
        return self.file.is_relative_to(code.PACKAGE)

    @cached_property
    def source(self) -> str:
        """A checksum of what its code does: it is in the key of each run with this part."""
        return code.digest(self.file, inspect.unwrap(self.run).__name__)

    @property
    def help(self) -> str:
        """The first sentence of its docstring."""
        return (inspect.getdoc(self.run) or "").partition("\n\n")[0].replace("\n", " ")


DECORATORS = (
    *("model", "optimizer", "objective", "clip_kind", "augmentation", "dataset", "schedule"),
    *("computation", "figure"),
)
KINDS: dict[str, dict[str, Part]] = {kind: {} for kind in DECORATORS}
"""The parts that are known, by kind and name."""
LIBRARIES: dict[str, list["Library"]] = {kind: [] for kind in DECORATORS}
"""Where parts are found whose names no other has."""


def declare(kind: str, name: str, label: str, **about: Any) -> Callable[[F], F]:
    """The decorator that makes a part of this kind of a function or class. InputError for a name
    that can't be, or that another part has."""
    known = KINDS[kind]

    def register(run: F) -> F:
        if not re.fullmatch(r"[a-z]([a-z0-9_-]*[a-z0-9])?", name):
            raise InputError(
                f"{kind} {name!r}: a name is of lower-case letters, digits, hyphens, underscores"
            )
        if not inspect.isroutine(run) and not inspect.isclass(run):
            raise InputError(f"{kind} {name}: a part is a function or a class, not {run!r}")
        part = Part(kind, name, label, run, settings_of(run), about)
        if not part.is_ours:
            check_defaults(f"{kind} {name}", part.settings)
        if name in known and (known[name].file, known[name].run.__qualname__) != (
            part.file,
            run.__qualname__,
        ):
            raise InputError(f"{kind} {name}: both {known[name].file} and {part.file} declare it")
        if twin := next((n for n, p in known.items() if p.label == label and n != name), ""):
            raise InputError(f"{kind} {name}: {twin} has the label {label!r} already")
        known[name] = part
        return run

    return register


# ---- the kinds of parts ----------------------------------------------------------------------


def model(name: str, *, label: str, family: str = "", **limits: Any) -> Callable[[F], F]:
    """A network: `build(channels, size, classes, *, …) -> nn.Module`, for images [channels, size,
    size]. Its initial weights come from torch's global generator. `family` is the word by which
    claims name it among others (its name without the depth). `fault(size=None, **settings)` says
    why it can't have its settings or, where given, images of side `size` px; None where it can."""
    family = family or re.sub(r"\d+", "", name)
    return declare("model", name, label, family=family, **limits)


def optimizer(name: str, *, label: str, buffers: int, **about: Any) -> Callable[[F], F]:
    """`make(parameters, learning_rate, *, …) -> torch.optim.Optimizer`, which keeps `buffers`
    values for each weight. With `elementwise=True` all weights of a type are given as one."""
    return declare("optimizer", name, label, buffers=buffers, **{"elementwise": False} | about)


def objective(name: str, *, label: str) -> Callable[[F], F]:
    """`compute(logits, labels, *, …) -> Tensor`: what training minimises, the mean over a batch, of
    float32 logits [n, classes] and the classes' numbers [n]. What is measured stays the
    cross-entropy."""
    return declare("objective", name, label)


def clip_kind(
    name: str, *, label: str, observes: str, most: float = float("inf")
) -> Callable[[F], F]:
    """`clip(gradients, weights, threshold, state, *, …) -> Telemetry`, which changes `gradients`, a
    list of tensors, in place. `weights` has the parameter of each (None for the classifier's);
    `state` is a dict of tensors, empty before the first step, that the run keeps. In `label`, {}
    stands for the threshold; `observes` says what is compared with it. At the threshold `most`, the
    largest, it only observes and never clips."""
    if not name[-1:].isalpha() or name.endswith("inf"):
        raise InputError(f"clip_kind {name!r}: a name ends in a letter, as a threshold follows it")
    if label.count("{}") != 1:
        raise InputError(f"clip_kind {name!r}: its label needs {{}} where the threshold stands")
    return declare("clip_kind", name, label, observes=observes, most=most)


def augmentation(name: str, *, label: str) -> Callable[[F], F]:
    """A class: `draw(n, size, generator) -> Tensor` [n, …] draws on the CPU what is random for `n`
    images of side `size`; `apply(images, drawn) -> Tensor` changes uint8 images [n, C, size,
    size]."""
    return declare("augmentation", name, label)


def dataset(
    name: str, *, label: str, channels: int, images: tuple[int, int, int], **about: Any
) -> Callable[[F], F]:
    """`open(folder, size) -> Source`, raw images and labels. `images` is how many there are for
    training, validation and test; estimates of cost use it, and a set of another number is refused
    (with `any_number=True`, it isn't). `files=True` for a set of a file an image, `downloads=False`
    for one that must lie in the folder; `changed_by` are augmentations that change classes."""
    defaults = {"files": False, "downloads": True, "any_number": False, "changed_by": ()}
    return declare("dataset", name, label, channels=channels, images=images, **defaults | about)


def schedule(name: str, *, label: str, ends: bool) -> Callable[[F], F]:
    """`factor(step, steps, *, …) -> float`: of the learning rate at `step`, counted from 0. With
    `ends`, it depends on the last T, `steps`, and so trains each T by itself."""
    return declare("schedule", name, label, ends=ends)


def computation(name: str) -> Callable[[F], F]:
    """`compute(evidence) -> Answer`: decides on a statement that needs no cells."""
    return declare("computation", name, name.replace("_", " "))


def figure(name: str, *, title: str, caption: str, category: str, order: int) -> Callable[[F], F]:
    """`draw(evidence) -> matplotlib Figure`: an exhibit of the report. Within its category figures
    stand by `order`."""
    return declare("figure", name, title, caption=caption, category=category, order=order)


@dataclass(frozen=True)
class Library:
    """Parts of a library: `names` lists them, `declare` makes a part of one that is there."""

    names: Callable[[], list[str]]
    declare: Callable[[str], None]


def library(kind: str, names: Callable[[], list[str]]) -> Callable[[F], F]:
    """The decorator of `declare(name) -> None`, which is called when no other part has a name."""

    def register(declare: F) -> F:
        LIBRARIES[kind].append(Library(names, declare))
        return declare

    return register


# ---- finding them ----------------------------------------------------------------------------


@cache
def load_ours() -> None:
    """Import the modules in which our own parts are declared."""
    for room in ROOMS:
        package = import_module(room)
        for module in pkgutil.iter_modules(getattr(package, "__path__", ()), f"{room}."):
            import_module(module.name)


def load(extensions: Iterable[str], folder: Path = Path()) -> None:
    """Import our own parts and those of `extensions`: Python files, relative to `folder`, or
    modules. InputError for one that can't be imported, or that takes or changes the name of
    another."""
    load_ours()
    for extension in extensions:
        before = {kind: dict(known) for kind, known in KINDS.items()}
        try:
            load_extension(extension, folder)
            changed = [
                f"{kind} {name}"
                for kind, known in before.items()
                for name, part in known.items()
                if KINDS[kind].get(name) is not part
            ]
            if changed:
                raise InputError(f"it changes {', '.join(changed)}")
        except (Exception, SystemExit) as error:  # whatever its code does
            KINDS.update(before)
            where = "" if isinstance(error, InputError | SyntaxError) else place_of(error)
            reason = str(error) or type(error).__name__
            raise InputError(f"{extension} can't be loaded: {reason}{where}") from error


def load_extension(extension: str, folder: Path) -> None:
    """A file or module with parts; or, with a colon, a model in it: `my_vit.py:ViT` is `vit`."""
    source, _, name = extension.partition(":")
    FILES[source] = folder / source
    try:
        module = load_module(source, folder)
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        import_module("clipgrid.torchvision_on_cpu")  # which lets torchvision be imported
        module = load_module(source, folder)
    if name:
        if not hasattr(module, name):
            raise InputError(f"there is no {name} in {source}")
        found, known = getattr(module, name), KINDS["model"].get(name.lower())
        build = found if known and known.run is found else fitted(found, name)
        if not known or known.run is not build:
            model(name.lower(), label=name)(build)


def load_module(source: str, folder: Path) -> ModuleType:
    return load_file(folder / source) if source.endswith(".py") else import_module(source)


def load_file(path: Path) -> ModuleType:
    path = path.resolve()
    name = f"{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    if name in sys.modules:
        return sys.modules[name]
    if not path.is_file():
        raise InputError(f"there is no file {path}")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(path.parent))  # for what lies beside it
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    finally:
        sys.path.remove(str(path.parent))
    for name, file in code.modules_beside(path):
        other = getattr(sys.modules.get(name), "__file__", None)
        if other and Path(other).resolve() != file:
            raise InputError(
                f"it asks for {name}: both {file} and {other} are so called; rename one"
            )
    return module


def names(kind: str) -> list[str]:
    """The names of all parts of a kind, ours first; without those of a library."""
    load_ours()
    return [name for name, part in KINDS[kind].items() if not part.about.get("library")]


def names_in_libraries(kind: str) -> list[str]:
    """The names that `names` lacks, and that can be had. Imports the libraries."""
    load_ours()
    found = (name for library in LIBRARIES[kind] for name in library.names())
    return [name for name in dict.fromkeys(found) if name not in names(kind)]


def find(kind: str, name: str) -> Part:
    """The part of this name. InputError, with what is near, where there is none."""
    known = KINDS[kind] if name in KINDS[kind] else dict.fromkeys(names(kind))
    if name not in known:
        before = set(KINDS[kind])
        for library in LIBRARIES[kind]:
            library.declare(name)
        for new in set(KINDS[kind]) - before:
            about = {**KINDS[kind][new].about, "library": True}
            KINDS[kind][new] = replace(KINDS[kind][new], about=about)
    if part := KINDS[kind].get(name):
        return part
    unknown = f"unknown {kind.replace('_', ' ')} {shown(name)}"
    if kind == "model" and (how := of_a_file(name)):
        raise InputError(f"{unknown}; {how}")
    near = difflib.get_close_matches(name.lower(), [*known, *names_in_libraries(kind)], 1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise InputError(f"{unknown}; {hint}Known: {', '.join(known)}")


# ---- a part with its settings ----------------------------------------------------------------


class SettingsError(InputError):
    """Settings, each sound, that a part can't have: `key` names them."""

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(f"{key}: {reason}")
        self.key, self.reason = key, reason


@dataclass(frozen=True)
class Choice:
    """A part with its settings, `alexnet:width=0.125`: all of them, those by default too."""

    kind: str
    name: str
    settings: tuple[tuple[str, Any], ...] = ()

    @property
    def part(self) -> Part:
        return find(self.kind, self.name)

    @property
    def label(self) -> str:
        return self.part.label

    def __str__(self) -> str:
        """As it is written on the command line and in names: settings by default are left out."""
        usual = self.part.settings.model_fields
        said = [(k, v) for k, v in self.settings if v != usual[k].default]
        words = (f"{k}={canonical(v) if isinstance(v, int | float) else v}" for k, v in said)
        return ":".join([self.name, *words])

    @property
    def key(self) -> dict[str, Any]:
        """What a run's key holds of it: JSON-ready."""
        usual = self.part.settings.model_fields
        said = {k: v for k, v in self.settings if v != usual[k].default}
        if self.part.about.get("elementwise"):  # which its source, without decorators, doesn't say
            said["elementwise"] = True
        return {"name": self.name, "source": self.part.source, **said}

    def __call__(self, *arguments: Any) -> Any:
        """Run the part's code with its settings."""
        return self.part.run(*arguments, **dict(self.settings))


def choose(kind: str, name: str, settings: Mapping[str, Any] | None = None) -> Choice:
    """A part with these settings. InputError for an unknown name and SettingsError for settings
    that don't go together; pydantic's ValidationError for settings that it doesn't have or that are
    out of bounds."""
    part = find(kind, name)
    validated = part.settings.model_validate(settings or {}).model_dump()
    for key, value in validated.items():
        if isinstance(value, str) and not re.fullmatch(r"[\w.-]+", value):
            raise SettingsError(key, "must be of letters, digits, dots, hyphens (it names files)")
    if (fault := part.about.get("fault")) and (why := fault(**validated)):
        raise SettingsError(", ".join(validated), why)
    return Choice(kind, name, tuple(validated.items()))


def parse(kind: str, text: str) -> Choice:
    """The inverse of str(): `momentum:weight_decay=0.0005`. InputError for what is none."""
    name, *pairs = text.split(":")
    settings = dict(pair.partition("=")[::2] for pair in pairs)
    try:
        return choose(kind, name, settings)
    except ValidationError as error:
        faults = explained(error, find(kind, name).settings)
        raise InputError("; ".join(f"{at}: {message}" for at, message in faults)) from None
