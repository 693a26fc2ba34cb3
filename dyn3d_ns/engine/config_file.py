"""Read a training's config.yml without building what a stranger names in it.

A config.yml holds Python objects, and the loader that Nerfstudio uses builds whatever the file names. Here
the tree of the file is read first, which builds nothing, and compared with what configurations consist of:

- config classes: dataclasses of Nerfstudio, of ours, or of a package that registers plugins with Nerfstudio,
  which derive from ``PrintableConfig`` or are what the field holds by default,
- in a field that holds a class, such as `_target`: a class of the kind that the field holds by default,
- in a field that holds a function: the function that it holds by default,
- members of enums of these packages, paths, tuples, lists, dictionaries and plain values.

Anything else is refused with its name and line. Nerfstudio's own commands read files that name something of
ours in the same way (:func:`install`); files that do not are left to Nerfstudio.
"""

from __future__ import annotations

import dataclasses
import enum
import importlib
import sys
from collections.abc import Sequence
from functools import cache, wraps
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import torch
import yaml

from dyn3d_ns import plain_errors
from dyn3d_ns.io.errors import UserError
from dyn3d_ns.io.notes import tell

MAX_CHARACTERS = 1 << 20
"""Longest file that is read; those of trainings have some 20,000 characters."""
MAX_NODES = 50_000
"""Values that a file may stand for, with aliases written out; those of trainings have some 1,000."""

_YAML = "tag:yaml.org,2002:"
_PYTHON = _YAML + "python/"
_GROUPS = ("nerfstudio.method_configs", "nerfstudio.dataparser_configs")
_CONTAINERS = frozenset({_YAML + "map", _YAML + "seq", _PYTHON + "tuple", _PYTHON + "list", _PYTHON + "dict"})
_PLAIN = frozenset(
    {_YAML + kind for kind in ("null", "bool", "int", "float", "str")}
    | {_PYTHON + kind for kind in ("none", "bool", "int", "float", "str")}
)
_PATHS = frozenset(f"pathlib.{name}" for name in ("Path", "PosixPath", "WindowsPath", "PurePath"))
_ITEM = "_operator.getitem"
"""How a class with a parameter is written: `VanillaDataManager[DepthDataset]`."""


class ConfigError(UserError):
    """A config.yml cannot be used: it is no configuration, or names what no configuration needs."""


def load_config(path: Path) -> Any:
    """Load the config.yml that a training of any method saved.

    Raises:
        ConfigError: there is none, it is damaged, or it names what no configuration needs.
    """
    _require_file(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read as text ({error}); restore it from the original") from error
    return _training(build(text, str(path)), str(path))


def _training(config: Any, where: str) -> Any:
    from nerfstudio.engine.trainer import TrainerConfig

    if not isinstance(config, TrainerConfig):
        raise ConfigError(
            f"{where} is not a Nerfstudio training config: it holds a {type(config).__name__}; "
            "take the config.yml of a training"
        )
    return config


def require_named(arguments: Sequence[str]) -> None:
    """Refuse a --load-config of a command of Nerfstudio's that is no file, where a method of ours is meant.

    Raises:
        ConfigError: it is a folder, or not there.
    """
    named = _named_file(arguments)
    if named is None:
        return
    inside = Path(named, "config.yml")  # of outputs/<scene>/<method>/<date>
    ours = not _methods().isdisjoint((*arguments[1:2], *inside.parts))
    if ours or (inside.is_file() and is_ours(inside.read_text(encoding="utf-8", errors="replace"))):
        plain_errors.install()
        _require_file(Path(named))


def _require_file(path: Path) -> None:
    if path.is_file():
        return
    inside = path / "config.yml"
    if inside.is_file():
        raise ConfigError(f"--load-config {path} is a folder; give the file in it, {inside}")
    raise ConfigError(
        f"--load-config must be the config.yml of a training, but {path} is not a file; "
        "ns-train prints its place (outputs/<scene>/<method>/<date>/config.yml)"
    )


def build(text: str, where: str) -> Any:
    """Build what a configuration's text stands for, after all of it was checked.

    Args:
        text: The YAML.
        where: File that messages name.

    Raises:
        ConfigError: it is no YAML, too large or too deep, or names what no configuration needs.
    """
    if len(text) > MAX_CHARACTERS:
        raise ConfigError(f"{where} has {len(text)} characters; a training's config.yml has some 20,000")
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            raise ConfigError(f"{where} is empty; restore it from the original")
        _Check(where).node(node)
        return loader.construct_document(node)
    except RecursionError as error:
        raise ConfigError(f"{where} is nested too deeply for a configuration; restore it") from error
    except (yaml.YAMLError, ValueError, TypeError, OverflowError, AttributeError) as error:
        if isinstance(error, UserError):
            raise
        said = " ".join(str(error).split())
        raise ConfigError(f"{where} is not a readable configuration ({said}); restore it") from error


@cache
def install() -> None:
    """Let Nerfstudio's commands read configurations that name something of ours as :func:`build` does.

    They call ``yaml.load`` before any class of a method is built, and so before anything of ours is asked.
    """
    stock = yaml.load

    @wraps(stock)
    def load(stream: Any, Loader: Any) -> Any:  # noqa: N803  # PyYAML's own name
        if Loader is yaml.Loader and isinstance(stream, str) and (trains_ours() or is_ours(stream)):
            plain_errors.install()
            where = _named_file(sys.argv) or "config.yml"
            config = _training(build(stream, where), where)
            if not trains_ours():
                _require_method(config.method_name, where)
            return config
        return stock(stream, Loader)

    yaml.load = load


def _require_method(name: str, where: str) -> None:
    """Refuse a training whose method Nerfstudio's commands would look for in vain."""
    from nerfstudio.configs.method_configs import all_methods

    if name not in all_methods:
        raise ConfigError(
            f"{where} is of a training of {name}, and no method of this name is installed; the methods of "
            f"dyn3d_ns are {', '.join(sorted(_methods()))}"
        )


def trains_ours() -> bool:
    """Tell whether this process is `ns-train` of a method of ours."""
    return not _methods().isdisjoint(sys.argv[1:2])


def is_ours(text: str) -> bool:
    """Tell whether a configuration is of a method of ours, or names anything of our package."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError, ValueError):  # the loader that follows says why
        return "dyn3d_ns." in text
    if isinstance(root, yaml.MappingNode):
        for key, value in root.value:
            if (
                key.value == "method_name"
                and isinstance(value, yaml.ScalarNode)
                and value.value in _methods()
            ):
                return True
    waiting, seen = [root], set()
    while waiting:
        node = waiting.pop()
        if node is None or id(node) in seen:
            continue
        seen.add(id(node))
        if any(part.startswith("dyn3d_ns.") for part in node.tag.split(":")):
            return True
        waiting += _children(node)
    return False


@cache
def _methods() -> frozenset[str]:
    return frozenset(e.name for e in entry_points(group=_GROUPS[0]) if e.value.startswith("dyn3d_ns."))


@cache
def _packages() -> frozenset[str]:
    """Packages whose config classes are built: Nerfstudio imports all of them at the start anyway."""
    plugins = {
        entry.value.split(":")[0].split(".")[0] for group in _GROUPS for entry in entry_points(group=group)
    }
    return frozenset({"nerfstudio", "dyn3d_ns", *plugins})


def _named_file(arguments: Sequence[str]) -> str | None:
    for word, following in zip(arguments, [*arguments[1:], ""], strict=True):
        name, equals, value = word.partition("=")
        if name.replace("_", "-") == "--load-config":
            return value if equals else following
    return None


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


class _Loader(yaml.Loader):
    """Nerfstudio's loader; paths of another system become paths of this one.

    Options that a file lacks, as it was written before there were any, have their defaults.
    """

    def make_python_instance(self, *args: Any, **kwargs: Any) -> Any:
        """Make an object whose state follows."""
        made = super().make_python_instance(*args, **kwargs)
        for field in dataclasses.fields(made) if dataclasses.is_dataclass(made) else ():
            if field.default_factory is not dataclasses.MISSING:
                setattr(made, field.name, field.default_factory())
        return made


def _construct_path(loader: yaml.Loader, node: yaml.SequenceNode) -> Path:
    return Path(*loader.construct_sequence(node))


for _name in _PATHS:
    _Loader.add_constructor(f"{_PYTHON}object/apply:{_name}", _construct_path)


class _Check:
    """Goes through a tree once and refuses what no configuration needs."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.sizes: dict[int, int] = {}
        """Values that each node seen stands for; 0 while it is gone through."""

    def node(self, node: yaml.Node, default: Any = None) -> int:
        """Check a node and return how many values it stands for; its field may hold something by default."""
        size = self.sizes.get(id(node))
        if size == 0:
            raise self.refusal(node, "an alias of what it is part of")
        if size is None:
            self.sizes[id(node)] = 0
            size = 1 + self._parts(node, default)
            self.sizes[id(node)] = size
        if size > MAX_NODES:
            raise ConfigError(
                f"{self.where} stands for more than {MAX_NODES} values, its aliases written out; "
                "no configuration does"
            )
        return size

    def _parts(self, node: yaml.Node, default: Any) -> int:
        kind, _, name = node.tag.removeprefix(_PYTHON).partition(":")
        if isinstance(node, yaml.ScalarNode):
            if node.tag in _PLAIN:
                return 0
        elif node.tag in _CONTAINERS:
            return self._children(node, None)
        elif kind == "object" and isinstance(node, yaml.MappingNode):
            found = self._resolve(node, name)
            if _is_config(found) or (dataclasses.is_dataclass(default) and found is type(default)):
                return self._children(node, found)
        elif (
            kind == "object/apply"
            and isinstance(node, yaml.SequenceNode)
            and (name in _PATHS or self._is_enum(node, name))
        ):
            return sum(self._plain(part) for part in node.value)
        raise self.refusal(node, _called(node))

    def _children(self, node: yaml.Node, config: type | None) -> int:
        if not isinstance(node, yaml.MappingNode):
            return sum(self.node(part) for part in _children(node))
        size = 0
        for key, value in node.value:
            size += self._plain(key)
            size += self.node(value) if config is None else self._field(config, str(key.value), value)
        return size

    def _field(self, config: type, key: str, value: yaml.Node) -> int:
        """Check a field's value; fields that hold a class or a function by default may name one."""
        if all(field.name != key for field in dataclasses.fields(config)):
            note = f"line {_line(value)}: {config.__name__} has no option {key!r} here, so it has no effect"
            tell(Path(self.where), note)
        names = [value]
        if value.tag == f"{_PYTHON}object/apply:{_ITEM}" and isinstance(value, yaml.SequenceNode):
            names = [value.value[0], *_leaves(value.value[1:])] if value.value else []
        default = _default(config, key)
        if not names or not all(part.tag.startswith(f"{_PYTHON}name:") for part in names):
            return self.node(value, default)
        for part in names:
            name = part.tag.removeprefix(f"{_PYTHON}name:")
            found = self._resolve(part, name, ("torch.optim",))
            first = part is names[0]
            if not isinstance(part, yaml.ScalarNode) or not (
                _same_kind(found, default) if first else _is_dataset(found)
            ):
                raise self.refusal(part, name)
        return len(names)

    def _plain(self, node: yaml.Node) -> int:
        if not isinstance(node, yaml.ScalarNode) or node.tag not in _PLAIN:
            raise self.refusal(node, _called(node))
        return 1

    def _is_enum(self, node: yaml.Node, name: str) -> bool:
        found = self._resolve(node, name)
        return isinstance(found, type) and issubclass(found, enum.Enum) and len(node.value) == 1

    def _resolve(self, node: yaml.Node, name: str, more: tuple[str, ...] = ()) -> Any:
        """Return what a full name means; it must be made in one of the packages, not only imported there."""
        module, _, last = name.rpartition(".")
        if not _within(module, more) or module.endswith("__main__"):
            raise self.refusal(node, name)
        try:
            found = getattr(importlib.import_module(module), last)
        except Exception as error:  # a module may fail in any way, for want of a GPU or a package
            raise ConfigError(
                f"{self.where}, line {_line(node)}: {name} cannot be loaded here ({error}); install what the "
                "training ran with"
            ) from error
        if not _within(getattr(found, "__module__", ""), more):
            raise self.refusal(node, name)
        return found

    def refusal(self, node: yaml.Node, name: str) -> ConfigError:
        return ConfigError(
            f"{self.where}, line {_line(node)}: names {name}, which no configuration needs; nothing of the "
            "file was built. Take the config.yml that the training wrote, and none from whom you do not trust"
        )


def _line(node: yaml.Node) -> int:
    return node.start_mark.line + 1


def _called(node: yaml.Node) -> str:
    """Return the name in a node's tag, or the tag where it has none."""
    _, colon, name = node.tag.removeprefix(_YAML).partition(":")
    return name if colon else node.tag.removeprefix(_YAML)


def _leaves(nodes: Sequence[yaml.Node]) -> list[yaml.Node]:
    """Return nodes with the parts of tuples in place of the tuples."""
    return [
        part for node in nodes for part in (node.value if isinstance(node, yaml.SequenceNode) else [node])
    ]


def _within(module: str, more: tuple[str, ...]) -> bool:
    """Tell whether a module is of Nerfstudio, of ours, of a plugin, or of some more packages."""
    package = module.partition(".")[0]
    return package in _packages() or any(f"{module}.".startswith(f"{m}.") for m in more)


def _is_config(found: Any) -> bool:
    from nerfstudio.configs.base_config import PrintableConfig

    return isinstance(found, type) and issubclass(found, PrintableConfig) and dataclasses.is_dataclass(found)


def _default(config: type, key: str) -> Any:
    for field in dataclasses.fields(config):
        if field.name == key:
            if field.default is not dataclasses.MISSING:
                return field.default
            return None if field.default_factory is dataclasses.MISSING else field.default_factory()
    return None


def _same_kind(found: Any, default: Any) -> bool:
    """Tell whether a value may stand where another is the default: a class that shares a base with it."""
    if found is default:
        return True
    if not (isinstance(found, type) and isinstance(default, type)):
        return False
    shared = set(found.__mro__) & set(default.__mro__)
    return any(
        base.__module__.split(".")[0] in _packages() or base is torch.optim.Optimizer for base in shared
    )


def _is_dataset(found: Any) -> bool:
    return isinstance(found, type) and issubclass(found, torch.utils.data.Dataset)
