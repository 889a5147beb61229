"""An image of any size in parts, with the result of the whole, bit for bit.

Tiles that are upscaled by themselves differ from the whole image, because CCA and ESA look at all of it. Here each block
of the network is computed tile by tile with as many pixels around as its convolutions see, the attention's statistics
are gathered over all tiles, and only then applied. Two ways, by the memory that is there:

* 'kept': the features between two blocks are kept for the whole image, three maps; each tile is computed once.
* 'recomputed': nothing is kept but the statistics. Block k's are gathered in a pass of its own that computes blocks 1 to
  k anew, so n blocks cost (n + 3) / 2 times as much as once; the memory is that of a tile.

The bits are the same because the packed convolutions (`layers`) round alike wherever a pixel lies, because every sum over
the image is one of 32-bit sums over cells that no tile cuts, and because zero padding happens at the image's edge only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from rfdn_plugin.deploy.inference import Block, InferenceForm
from rfdn_plugin.deploy.layers import ALIGNMENT, Region

Read = Callable[[Region], Tensor]
Write = Callable[[Region, Tensor], None]
Report = Callable[[float], None]


def regions(height: int, width: int, tile: int) -> Iterator[Region]:
    """The tiles of an image, row by row; those at the lower and right edge may be smaller."""
    for top in range(0, height, tile):
        for left in range(0, width, tile):
            yield Region(top, min(top + tile, height), left, min(left + tile, width))


@torch.inference_mode()
def run_in_parts(
    form: InferenceForm,
    height: int,
    width: int,
    read: Read,
    write: Write,
    *,
    tile: int,
    keep: bool,
    report: Report = lambda share: None,
) -> None:
    """Upscale an image tile by tile.

    Args:
        form: The network.
        height, width: Of the LR image; not below `form.minimum_size`.
        read: Gives the LR pixels of a region, 1 x C x h x w, 0 to 1.
        write: Takes the LR region and its output, 1 x C x (scale h) x (scale w), 32-bit, not clamped.
        tile: Side of a tile in LR pixels, a multiple of `ALIGNMENT`.
        keep: The features between two blocks are kept in memory; else they are computed anew.
        report: Called as the work goes on with the share of it that was done since.

    Raises:
        ValueError: `tile` is no such multiple, or the image is too small.
    """
    if tile % ALIGNMENT or tile < ALIGNMENT:
        raise ValueError(f'tile is {tile}: it must be a multiple of {ALIGNMENT}.')
    if min(height, width) < form.minimum_size:
        raise ValueError(f'an image of {width}x{height} is too small for parts.')
    work = _Kept(form, height, width, read) if keep else _Recomputed(form, height, width, read)
    tiles = list(regions(height, width, tile))
    passes = work.passes(tiles)
    passes.append((work.OUTPUT_WEIGHT * len(form.blocks) + 1, lambda region: write(region, work.output(region))))
    total = sum(weight for weight, _ in passes)
    for weight, step in passes:
        for region in tiles:
            step(region)
            report(weight / total * (region.bottom - region.top) * (region.right - region.left) / (height * width))


def kept_bytes_per_pixel(form: InferenceForm) -> int:
    """What 'kept' keeps for each LR pixel."""
    body = form.blocks[0].body_channels * form.dtype.itemsize
    return body + 2 * form.num_feat * torch.float32.itemsize


class _Work:
    """What the two ways share: the head, the end, and the statistics of each block's attention."""

    def __init__(self, form: InferenceForm, height: int, width: int, read: Read) -> None:
        self.form, self.height, self.width, self.read = form, height, width, read
        self.statistics: list[Tensor | None] = [None] * len(form.blocks)
        self.concluded: list[Tensor | None] = [None] * len(form.blocks)

    def grown(self, region: Region, by: int) -> Region:
        return region.grown(by, self.height, self.width)

    def head(self, region: Region) -> Tensor:
        around = self.grown(region, self.form.HEAD_REACH)
        return crop(self.form.head(self.form.prepare(self.read(around), pad=False)), region, around)

    def body(self, block: Block, x: Tensor, region: Region, around: Region) -> Tensor:
        return crop(block.body(x), region, around)

    def finished(self, index: int, body: Tensor, x: Tensor, region: Region) -> Tensor:
        block = self.form.blocks[index]
        return block.finish(body, self.form.wide(x), self.concluded[index], region, self.height, self.width)

    def gather_from(self, index: int, region: Region, body_of: Callable[[Region], Tensor]) -> None:
        """Put the statistics of a region in; those of the last region conclude the block."""
        attention = self.form.blocks[index].attention
        if attention is None:
            return
        if self.statistics[index] is None:
            self.statistics[index] = attention.start(self.height, self.width)
        statistics = self.statistics[index]
        assert statistics is not None
        attention.gather(
            statistics, body_of(region.grown(attention.reach, self.height, self.width, before=False)), region
        )
        if (region.bottom, region.right) == (self.height, self.width):
            self.concluded[index] = attention.conclude(statistics, self.height, self.width)
            self.statistics[index] = None

    def end(self, fused: Tensor, region: Region, around: Region) -> Tensor:
        output = self.form.finish(fused, self.head(around))
        rows, columns = region.within(around)
        scale = self.form.scale
        return output[:, :, rows.start * scale : rows.stop * scale, columns.start * scale : columns.stop * scale]


class _Recomputed(_Work):
    OUTPUT_WEIGHT = 1

    def passes(self, tiles: list[Region]) -> list[tuple[float, Callable[[Region], None]]]:
        """A weight (its cost) and a step for each block with an attention."""
        indices = [index for index, block in enumerate(self.form.blocks) if block.attention is not None]
        return [(index + 1, self._gather(index)) for index in indices]

    def _gather(self, index: int) -> Callable[[Region], None]:
        return lambda region: self.gather_from(index, region, lambda wanted: self._body(index, wanted)[0])

    def _body(self, index: int, region: Region) -> tuple[Tensor, Tensor]:
        """The body of a block in a region, and the block's input there."""
        around = self.grown(region, Block.REACH)
        x = self._features(index, around)
        return self.body(self.form.blocks[index], x, region, around), crop(x, region, around)

    def _features(self, index: int, region: Region) -> Tensor:
        """The input of a block in a region: the head's output, or the block before's."""
        if index == 0:
            return self.head(region)
        body, x = self._body(index - 1, region)
        return self.finished(index - 1, body, x, region)

    def output(self, region: Region) -> Tensor:
        form = self.form
        around = self.grown(region, form.FINISH_REACH)
        wanted = [around]
        for _ in form.blocks:  # what each block's output must cover, the last one's first
            wanted.append(self.grown(wanted[-1], Block.REACH))
        wanted.reverse()
        x, fused = self.head(wanted[0]), None
        for index, fusion in enumerate(form.fusions):
            inner, outer = wanted[index + 1], wanted[index]
            body = self.body(form.blocks[index], x, inner, outer)
            x = self.finished(index, body, crop(x, inner, outer), inner)
            fused = form.add_fused(fused, fusion, crop(x, around, inner))
        assert fused is not None
        return self.end(fused, region, around)


class _Kept(_Work):
    OUTPUT_WEIGHT = 0

    def __init__(self, form: InferenceForm, height: int, width: int, read: Read) -> None:
        super().__init__(form, height, width, read)
        self.bodies = self._map(form.blocks[0].body_channels, form.dtype)
        self.features = self._map(form.num_feat, torch.float32)
        self.fused = self._map(form.num_feat, torch.float32)

    def _map(self, channels: int, dtype: torch.dtype) -> Tensor:
        shape = (1, channels, self.height, self.width)
        return torch.empty(shape, dtype=dtype, device=self.form.device, memory_format=torch.channels_last)

    def passes(self, tiles: list[Region]) -> list[tuple[float, Callable[[Region], None]]]:
        steps: list[tuple[float, Callable[[Region], None]]] = [(0.1, self._start)]
        for index, block in enumerate(self.form.blocks):
            steps.append((1, self._compute(index)))
            if not self._gathers_at_once(block):
                steps.append((0.05, self._gather(index)))
            steps.append((0.1, self._finish(index)))
        return steps

    @staticmethod
    def _gathers_at_once(block: Block) -> bool:
        """Whether a tile's statistics need no pixel of its neighbours (CCA): they are taken when its body is computed."""
        return block.attention is None or block.attention.reach == 0

    def _start(self, region: Region) -> None:
        part(self.features, region).copy_(self.head(region))

    def _compute(self, index: int) -> Callable[[Region], None]:
        block = self.form.blocks[index]

        def step(region: Region) -> None:
            around = self.grown(region, Block.REACH)
            rows, columns = region.within(around)
            body = block.body(dense(part(self.features, around), self.form.dtype))[:, :, rows, columns]
            part(self.bodies, region).copy_(body)
            if self._gathers_at_once(block):
                self.gather_from(index, region, lambda wanted: body)

        return step

    def _gather(self, index: int) -> Callable[[Region], None]:
        return lambda region: self.gather_from(index, region, lambda wanted: dense(part(self.bodies, wanted)))

    def _finish(self, index: int) -> Callable[[Region], None]:
        def step(region: Region) -> None:
            features, fused = part(self.features, region), part(self.fused, region)
            x = self.finished(index, part(self.bodies, region), features, region)
            features.copy_(x)
            # 32-bit convolutions with a sum inside want dense memory; in bfloat16 the sum is made in place.
            before = None if index == 0 else dense(fused) if self.form.dtype == torch.float32 else fused
            after = self.form.add_fused(before, self.form.fusions[index], x)
            if after is not fused:
                fused.copy_(after)

        return step

    def output(self, region: Region) -> Tensor:
        around = self.grown(region, self.form.FINISH_REACH)
        return self.end(dense(part(self.fused, around)), region, around)


def crop(x: Tensor, region: Region, around: Region) -> Tensor:
    """The part of `x` (which covers `around`) that covers `region`, as dense memory."""
    rows, columns = region.within(around)
    return x[:, :, rows, columns].contiguous(memory_format=torch.channels_last)


def part(x: Tensor, region: Region) -> Tensor:
    """A region of a map of the whole image: the map's own memory."""
    return x[:, :, region.top : region.bottom, region.left : region.right]


def dense(x: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """A copy in memory of its own, of another type where one is given."""
    return torch.empty_like(x, dtype=dtype or x.dtype, memory_format=torch.channels_last).copy_(x)
