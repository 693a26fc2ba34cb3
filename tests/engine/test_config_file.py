"""Configurations of strangers: nothing is built but what a configuration needs."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import yaml
from nerfstudio.configs.method_configs import all_methods
from nerfstudio.engine.trainer import TrainerConfig
from nerfstudio.utils.eval_utils import eval_setup

from dyn3d_ns.engine import config_file
from dyn3d_ns.engine.config_file import ConfigError, build, is_ours, load_config
from dyn3d_ns.plain_errors import ReadableErrors

STRANGER = """
import pathlib
MARKER = pathlib.Path(__file__).with_name("built")
MARKER.with_name("imported").touch()
class Mark:
    def __new__(cls, *args):
        MARKER.touch()
        return object.__new__(cls)
def mark(*args):
    MARKER.touch()
"""
"""A module whose import and whose objects leave a file behind."""
TRAINABLE = [
    name
    for name, config in all_methods.items()
    if type(config).__name__ != "ExternalMethodDummyTrainerConfig"
]


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    return {name: yaml.dump(all_methods[name]) for name in ("dyn3d-mononerf-fast", "nerfacto")}


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "stranger_module.py").write_text(STRANGER)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "stranger_module", raising=False)
    return tmp_path


@pytest.mark.parametrize("name", TRAINABLE)
def test_every_registered_method_is_built_as_by_nerfstudio(name: str) -> None:
    text = yaml.dump(all_methods[name])
    assert yaml.dump(build(text, "config.yml")) == text
    assert is_ours(text) == name.startswith("dyn3d-")


@pytest.mark.parametrize(
    "value",
    [
        "!!python/object:stranger_module.Mark {}",
        "!!python/object/new:stranger_module.Mark []",
        "!!python/object/apply:stranger_module.mark []",
        "!!python/object/apply:stranger_module.mark {args: []}",
        "!!python/object/apply:_operator.getitem [!!python/object/apply:stranger_module.mark [], 1]",
        "!!python/object/apply:builtins.list [!!python/object/apply:stranger_module.mark []]",
        "!!python/object/apply:pathlib.PosixPath [!!python/object/apply:stranger_module.mark []]",
        "!!python/name:stranger_module.mark ''",
        "!!python/module:stranger_module ''",
        "!<tag:yaml.org,2002:python/object/apply:stranger_module.mark> []",
        "[!!python/tuple [{a: !!python/object:stranger_module.Mark {}}]]",
        "{? !!python/object/apply:stranger_module.mark [] : 1}",
        "!!set {? !!python/object/apply:stranger_module.mark []}",
    ],
)
def test_what_no_configuration_needs_is_refused_by_name_and_line_before_it_is_built(
    value: str, texts: dict[str, str], stranger: Path
) -> None:
    text = texts["dyn3d-mononerf-fast"] + f"harmless: 1\nextra: {value}\n"
    line = len(text.splitlines())
    named = "set" if value.startswith("!!set") else r"(stranger_module|_operator|builtins)\.?\w*"
    with pytest.raises(ConfigError, match=rf"x/config.yml, line {line}: names {named}"):
        build(text, "x/config.yml")
    assert not (stranger / "imported").exists() and not (stranger / "built").exists()


@pytest.mark.parametrize(
    "name",
    [
        "os.system",
        "nerfstudio.utils.eval_utils.os",  # imported there, not made there
        "nerfstudio.utils.eval_utils.sys.exit",
        "nerfstudio.utils.eval_utils.eval_setup",  # a function where a class belongs
        "nerfstudio.configs.base_config.ViewerConfig",  # a class of another kind
        "torch.optim.lr_scheduler.LambdaLR",
        "torch.hub.load",
    ],
)
def test_a_field_of_a_class_takes_classes_of_its_kind_only(name: str, texts: dict[str, str]) -> None:
    ours = "!!python/name:dyn3d_ns.engine.trainer.DynamicTrainer"
    text = texts["dyn3d-mononerf-fast"]
    assert ours in text
    with pytest.raises(ConfigError, match=f"line {text[: text.index(ours)].count(chr(10)) + 1}: "):
        build(text.replace(ours, f"!!python/name:{name}"), "config.yml")
    subclass = build(text.replace(ours, "!!python/name:nerfstudio.engine.trainer.Trainer"), "config.yml")
    assert subclass._target.__name__ == "Trainer"


def test_objects_of_ours_that_are_no_configs_are_refused(texts: dict[str, str]) -> None:
    for name in ("dyn3d_ns.cli.path.OrbitPath", "dyn3d_ns.io.fused_4d.FusedScene", "dyn3d_ns.cli.main.main"):
        with pytest.raises(ConfigError, match=name):
            build(f"{texts['dyn3d-mononerf-fast']}extra: !!python/object:{name} {{}}\n", "config.yml")


def test_aliases_stay_small_and_nesting_shallow() -> None:
    levels = "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12))
    with pytest.raises(ConfigError, match="50000 values, its aliases written out"):
        build(f"a0: &a0 [1, 2]\n{levels}", "config.yml")
    with pytest.raises(ConfigError, match="an alias of what it is part of"):
        build("a: &a [*a]\n", "config.yml")
    with pytest.raises(ConfigError, match="nested too deeply"):
        build("[" * 5000, "config.yml")
    with pytest.raises(ConfigError, match="merge"):
        build("a: &a {b: 1}\nc: {<<: *a}\n", "config.yml")
    with pytest.raises(ConfigError, match="characters"):
        build("#" * (1 << 20) + "\n", "config.yml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("a: [1", "not a readable"),
        (f"a: {'9' * 5000}", "not a readable"),
        ("a: 1", "holds a dict"),
        ("a: 1\n--- 2", "not a readable"),
        ("a: \x00", "not a readable"),
        ("2026-11-30", "line 1: names timestamp"),
    ],
)
def test_damaged_files_are_told(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "config.yml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_config(path)
    path.write_bytes(b"\xff\xfe\x80")
    with pytest.raises(ConfigError, match="as text"):
        load_config(path)


def test_paths_of_another_system_and_overridden_values_are_kept(texts: dict[str, str]) -> None:
    text = texts["nerfacto"] + "data: !!python/object/apply:pathlib.WindowsPath ['C:\\', scenes, bat]\n"
    config = build(text.replace("max_num_iterations: 30000", "max_num_iterations: 7"), "config.yml")
    assert isinstance(config, TrainerConfig) and isinstance(config.data, Path)
    assert config.data.parts[-2:] == ("scenes", "bat") and config.max_num_iterations == 7


def test_options_of_other_versions_are_told_or_have_their_defaults(
    texts: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    text = texts["dyn3d-mononerf-fast"]
    begin = text.index("viewer: !!")
    without_viewer = text[:begin] + text[text.index("vis: ", begin) :]
    config = build(f"{without_viewer}old_option: 3\n", "older.yml")
    assert config.viewer == all_methods["dyn3d-mononerf-fast"].viewer
    line = len(without_viewer.splitlines()) + 1
    told = (
        f"older.yml: line {line}: DynamicTrainerConfig has no option 'old_option' here, so it has no effect"
    )
    assert capsys.readouterr().err.splitlines() == [told]


def test_commands_of_nerfstudio_get_one_sentence_for_what_is_no_training_of_ours(
    texts: dict[str, str], stranger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    run = stranger / "dyn3d-velocity" / "x"
    run.mkdir(parents=True)
    monkeypatch.setattr(sys, "argv", ["ns-eval", "--load-config", str(run / "config.yml")])
    with pytest.raises(ConfigError, match="config.yml is not a file"):
        config_file.require_named(sys.argv)
    text = texts["dyn3d-mononerf-fast"]
    (run / "config.yml").write_text(text.replace("dyn3d-mononerf-fast", "dyn3d-gone"))
    config_file.require_named(sys.argv)
    with pytest.raises(ConfigError, match="of dyn3d-gone, and no method of this name .*dyn3d-velocity"):
        eval_setup(run / "config.yml")
    with pytest.raises(ConfigError, match=rf"{run} is a folder; give the file in it, {run}/config.yml"):
        config_file.require_named(["ns-viewer", f"--load_config={run}"])
    config_file.require_named(["ns-viewer", "--load-config", str(stranger / "nerfacto" / "config.yml")])
    # Nothing in this file is ours; the method that would be trained with it is.
    monkeypatch.setattr(sys, "argv", ["ns-train", "dyn3d-velocity", "--load-config", "strange.yml"])
    with pytest.raises(ConfigError, match="^strange.yml, line 1: names stranger_module.mark"):
        yaml.load("a: !!python/object/apply:stranger_module.mark []", Loader=yaml.Loader)  # noqa: S506
    with pytest.raises(ConfigError, match="strange.yml is not a Nerfstudio training config"):
        yaml.load("a: 1", Loader=yaml.Loader)  # noqa: S506
    assert not (stranger / "imported").exists()


def test_packages_that_register_plugins_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    class Entry:
        name, value = "their-method", "jaxtyping.plugin:spec"  # any package that is installed

    config_file._packages.cache_clear()
    monkeypatch.setattr(config_file, "entry_points", lambda group: [Entry])
    try:
        assert config_file._packages() == {"nerfstudio", "dyn3d_ns", "jaxtyping"}
    finally:
        config_file._packages.cache_clear()


def test_stock_loading_refuses_it_for_our_methods_and_loads_theirs_as_ever(
    texts: dict[str, str], stranger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = stranger / "config.yml"
    monkeypatch.setattr(sys, "argv", ["ns-eval", f"--load-config={path}"])
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    for name, text in texts.items():
        path.write_text(text + "zzz: !!python/object/apply:stranger_module.mark []\n")
        if name == "nerfacto":
            assert yaml.load(path.read_text(), Loader=yaml.Loader).method_name == name  # noqa: S506
            assert (stranger / "built").exists()
            continue
        line = len(text.splitlines()) + 1
        with pytest.raises(ConfigError, match=f"^{path}, line {line}: names stranger_module.mark"):
            eval_setup(path)
        assert not (stranger / "imported").exists()
        assert isinstance(sys.excepthook, ReadableErrors)  # the command will end with this sentence alone
    assert list(texts)[-1] == "nerfacto"


def test_what_names_nothing_of_ours_but_cannot_be_composed_is_left_to_nerfstudio() -> None:
    assert not is_ours("a: [1") and not is_ours("")
    assert is_ours("a: !!python/object:dyn3d_ns.x [1") and is_ours('"method_name": "dyn3d\\x2dvelocity"')
    assert not is_ours("experiment_name: dyn3d-velocity")
