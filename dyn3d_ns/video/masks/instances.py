"""Split masks into objects and follow them through the clip."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int32, UInt8

from dyn3d_ns.io.clip.types import Flow
from dyn3d_ns.video.masks.carry import carry_labels
from dyn3d_ns.video.masks.colors import color_histogram, divide_by_colors

_SIMILAR_COLORS = 0.5
_KNOWN_SHARE = 0.1
_SAME_MOTION = 0.35


@dataclass
class Instance:
    """What is known of one object while it is followed."""

    frames: list[int] = field(default_factory=list)
    areas: list[int] = field(default_factory=list)
    """Pixels in each of the frames."""
    motions: list[Float64[np.ndarray, "2"]] = field(default_factory=list)
    """Mean flow to the next frame against that of the static pixels, in pixels, in each of the frames."""
    evidence: list[float] = field(default_factory=list)
    """Mean evidence of motion in each of the frames."""
    histogram: Float32[np.ndarray, "B"] = field(default_factory=lambda: np.zeros(0, np.float32))
    """Colours while it was alone; empty before it was seen."""
    center: tuple[float, float] = (0.0, 0.0)
    touches: dict[int, int] = field(default_factory=dict)
    """In how many frames it shared a connected region with another object."""


class Linker:
    """Give the regions of one mask after the other ids that stay with the objects.

    Ids travel along the flow, so that objects which touch or cover each other keep theirs. A region without
    an id takes that of an object lost within the last `memory` frames nearby with similar colours, else a
    new one.
    """

    def __init__(self, memory: int = 10) -> None:
        self.memory = memory
        self.instances: dict[int, Instance] = {}
        self.background_evidence: list[float] = []
        self._labels: Int32[np.ndarray, "H W"] | None = None
        self._frame = -1
        self._next_id = 1
        self._recalled: set[int] = set()

    def step(
        self,
        image: UInt8[np.ndarray, "H W 3"],
        mask: Bool[np.ndarray, "H W"],
        evidence: Float32[np.ndarray, "H W"],
        back: Flow | None,
        onward: Flow | None,
    ) -> Int32[np.ndarray, "H W"]:
        """Label the next frame.

        Args:
            evidence: How sure it is that a pixel moves by itself, whatever the depth of the scene.
            back: Flow to the frame before (None for the first).
            onward: Flow to the frame after (None for the last).
        """
        self._frame += 1
        self._recalled.clear()
        carried = np.zeros(mask.shape, np.int32)
        if back is not None and self._labels is not None:
            carried = np.where(mask, carry_labels(self._labels, back), 0).astype(np.int32)
        labels = np.zeros(mask.shape, np.int32)
        for region in _regions(mask):
            labels[region] = self._label_region(image, region, carried)[region]
        self._remember(image, labels, evidence, onward)
        self._labels = labels
        return labels

    def _label_region(
        self, image: np.ndarray, region: Bool[np.ndarray, "H W"], carried: Int32[np.ndarray, "H W"]
    ) -> Int32[np.ndarray, "H W"]:
        ids, counts = np.unique(carried[region & (carried > 0)], return_counts=True)
        known = (
            ids[counts >= _KNOWN_SHARE * np.minimum(region.sum(), self._last_area(ids))] if len(ids) else ids
        )
        if not len(known):
            return np.where(region, self._recall(image, region), 0).astype(np.int32)
        carried = np.where(np.isin(carried, known) & region, carried, 0).astype(np.int32)
        nearest = _nearest_label(carried, region)
        models = {int(key): self.instances[int(key)].histogram for key in known}
        return nearest if len(known) < 2 else divide_by_colors(image, nearest, region, models)

    def _last_area(self, ids: Int32[np.ndarray, "k"]) -> Float64[np.ndarray, "k"]:
        return np.array([self.instances[int(i)].areas[-1] for i in ids], dtype=np.float64)

    def _recall(self, image: np.ndarray, region: Bool[np.ndarray, "H W"]) -> int:
        """Return the id of the lost object that looks most like a region, or a new id."""
        colors, center = color_histogram(image, region), _center(region)
        reach = 0.25 * float(np.hypot(*region.shape))
        best, best_likeness = 0, _SIMILAR_COLORS
        for key, item in self.instances.items():
            gone = self._frame - item.frames[-1]
            if not 1 <= gone <= self.memory or key in self._recalled:
                continue
            distance = float(np.hypot(center[0] - item.center[0], center[1] - item.center[1]))
            likeness = float(np.minimum(colors, item.histogram).sum())
            if distance < reach and likeness > best_likeness:
                best, best_likeness = key, likeness
        if not best:
            best, self._next_id = self._next_id, self._next_id + 1
        self._recalled.add(best)
        return best

    def _remember(
        self, image: np.ndarray, labels: Int32[np.ndarray, "H W"], evidence: np.ndarray, onward: Flow | None
    ) -> None:
        static = labels == 0
        if static.any():
            self.background_evidence.append(float(evidence[static].mean()))
        drift = _mean_flow(onward, static)
        for key in np.unique(labels[labels > 0]).tolist():
            where = labels == key
            item = self.instances.setdefault(key, Instance())
            item.frames.append(self._frame)
            item.areas.append(int(where.sum()))
            item.evidence.append(float(evidence[where].mean()))
            item.motions.append(_mean_flow(onward, where) - drift)
            item.center = _center(where)
        for region in _regions(labels > 0):
            together = np.unique(labels[region]).tolist()
            for a in together:
                self._learn_colors(image, labels == a, self.instances[a], alone=len(together) == 1)
                for b in together:
                    if a != b:
                        self.instances[a].touches[b] = self.instances[a].touches.get(b, 0) + 1

    def _learn_colors(
        self, image: np.ndarray, where: Bool[np.ndarray, "H W"], item: Instance, alone: bool
    ) -> None:
        """Follow an object's colours; not where it touches another one, part of which it may hold."""
        if not len(item.histogram):
            item.histogram = color_histogram(image, where)
        elif alone:
            item.histogram = 0.8 * item.histogram + 0.2 * color_histogram(image, where)


def final_ids(linker: Linker, min_frames: int, min_evidence: float, min_share: float = 0.0) -> dict[int, int]:
    """Decide which of the followed ids are objects, and number them from 1, the largest first.

    Pieces that mostly touch and move alike become one object. Dropped (mapped to 0) is what was seen in
    fewer than `min_frames` frames, what has less than `min_share` of the largest one's pixels, and what
    parallax of a static scene explains: its evidence of motion is less than `min_evidence`, or than three
    times that of the background.
    """
    groups = _merge(linker.instances)
    floor = max(min_evidence, 3.0 * float(np.mean(linker.background_evidence or [0.0])))
    kept: list[tuple[int, list[int]]] = []
    for members in groups:
        items = [linker.instances[key] for key in members]
        seen = {frame for item in items for frame in item.frames}
        pixels = np.concatenate([item.areas for item in items]).astype(np.float64)
        evidence = np.concatenate([item.evidence for item in items])
        moves = float((pixels * evidence).sum() / pixels.sum()) >= floor
        if len(seen) >= min_frames and moves:
            kept.append((int(pixels.sum()), members))
    kept.sort(key=lambda pair: (-pair[0], pair[1]))
    kept = [pair for pair in kept if pair[0] >= min_share * kept[0][0]]
    return {key: number for number, (_, members) in enumerate(kept, 1) for key in members}


def _merge(instances: dict[int, Instance]) -> list[list[int]]:
    """Group ids that share a region in most of their common frames and move alike there."""
    root = {key: key for key in instances}

    def find(key: int) -> int:
        while root[key] != key:
            key = root[key]
        return key

    for a, item in instances.items():
        for b, count in item.touches.items():
            if a < b and count >= 3 and _move_alike(item, instances[b], count):
                root[find(b)] = find(a)
    groups: dict[int, list[int]] = {}
    for key in instances:
        groups.setdefault(find(key), []).append(key)
    return list(groups.values())


def _move_alike(a: Instance, b: Instance, touching: int) -> bool:
    common = sorted(set(a.frames) & set(b.frames))
    if touching < 0.5 * len(common):
        return False
    ours = np.stack([a.motions[a.frames.index(frame)] for frame in common])
    theirs = np.stack([b.motions[b.frames.index(frame)] for frame in common])
    difference = np.linalg.norm(ours - theirs, axis=1).sum()
    return bool(difference < _SAME_MOTION * np.linalg.norm(ours, axis=1).sum() + 1e-9) and bool(
        difference < _SAME_MOTION * np.linalg.norm(theirs, axis=1).sum() + 1e-9
    )


def _regions(mask: Bool[np.ndarray, "H W"]) -> list[Bool[np.ndarray, "H W"]]:
    import cv2

    count, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    return [labels == i for i in range(1, count)]


def _nearest_label(
    labels: Int32[np.ndarray, "H W"], region: Bool[np.ndarray, "H W"]
) -> Int32[np.ndarray, "H W"]:
    """Give every pixel of a region the label of the nearest labelled one."""
    import cv2

    _, index = cv2.distanceTransformWithLabels(
        (labels == 0).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    by_index = np.zeros(index.max() + 1, np.int32)
    by_index[index[labels > 0]] = labels[labels > 0]
    return np.where(region, by_index[index], 0).astype(np.int32)


def _center(where: Bool[np.ndarray, "H W"]) -> tuple[float, float]:
    ys, xs = np.nonzero(where)
    return float(xs.mean()), float(ys.mean())


def _mean_flow(flow: Flow | None, where: Bool[np.ndarray, "H W"]) -> Float64[np.ndarray, "2"]:
    if flow is None:
        return np.zeros(2)
    seen = where & flow.valid
    return flow.flow[seen].mean(0).astype(np.float64) if seen.any() else np.zeros(2)
