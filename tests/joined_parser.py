"""A dataparser that joins what another gives of several folders, for tests of what takes several scenes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from nerfstudio.data.dataparsers.base_dataparser import DataParser, DataParserConfig, DataparserOutputs

from dyn3d_ns.io.joined_scenes import join_scenes


@dataclass
class JoinedConfig(DataParserConfig):
    """The scene of --data and others of the same layout"""

    _target: type = field(default_factory=lambda: Joined)
    part: DataParserConfig = field(default_factory=DataParserConfig)
    others: tuple[Path, ...] = ()


class Joined(DataParser):
    """Join scenes."""

    config: JoinedConfig
    includes_time = True

    def _generate_dataparser_outputs(self, split: str = "train", **kwargs) -> DataparserOutputs:
        roots = (self.config.data, *self.config.others)
        parsers = [replace(self.config.part, data=root).setup() for root in roots]
        return join_scenes([parser.get_dataparser_outputs(split) for parser in parsers])
