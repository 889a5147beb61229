"""Validating while a training runs: shared out over its processes, and told to what keeps the best weights."""

from __future__ import annotations

import contextlib
import itertools
import math
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from basicsr.models.sr_model import SRModel
from basicsr.utils import get_root_logger
from torch.utils.data import DataLoader, Dataset, Subset

from rfdn_plugin.options.datasets import SINGLE
from rfdn_plugin.options.registry import needs_reference
from rfdn_plugin.utils.text import counted


class ValidatedModel(SRModel):
    """SRModel whose validation uses every process and counts the iterations that were made."""

    iteration = 0
    metric_results: dict[str, float]
    """Iterations that the weights have been trained for."""

    def __init__(self, opt: dict[str, Any]) -> None:
        self.validated: dict[str, int] = {}
        """The iteration of the last validation that was finished, by set."""
        self.is_validating = False
        """Whether a validation of this training is under way."""
        self._single_image = False
        self._of_images: list[dict[str, float]] = []
        """The metrics of each image of the validation that is under way."""
        super().__init__(opt)

    def validation(self, dataloader: Any, current_iter: int | str, tb_logger: Any, save_img: bool = False) -> None:
        """Validate as SRModel does; in training `after_validation` is called with the name of the set.

        BasicSR validates once more when a training has ended, under the number of an iteration that was never made;
        where the last iteration was validated already that is left out.
        """
        if not self.is_train:
            with self._metrics_for(dataloader.dataset):
                super().validation(dataloader, current_iter, tb_logger, save_img)
            return
        name = dataloader.dataset.opt['name']
        if self.validated.get(name) == self.iteration:
            return
        self.is_validating = True
        try:
            with self._metrics_for(dataloader.dataset):
                super().validation(dataloader, self.iteration, tb_logger, save_img)
        finally:
            self.is_validating = False
        self.validated[name] = self.iteration
        self.after_validation(name)

    @contextlib.contextmanager
    def _metrics_for(self, dataset: Dataset) -> Iterator[None]:
        """Leave out, for images without HR, the metrics that compare with it: SRModel would call them without."""
        metrics = self.opt['val'].get('metrics')
        if not metrics or getattr(dataset, 'opt', {}).get('type') != SINGLE:
            yield
            return
        self.opt['val']['metrics'] = {name: one for name, one in metrics.items() if not needs_reference(one)} or None
        self.__dict__.pop('metric_results', None)  # SRModel goes on with the names of the set before
        try:
            yield
        finally:
            self.opt['val']['metrics'] = metrics
            self.__dict__.pop('metric_results', None)

    def after_validation(self, dataset: str) -> None:
        """Hook for what a training does with the results of a set, which `best_metric_results` has taken in."""

    def nondist_validation(self, dataloader: Any, current_iter: int | str, tb_logger: Any, save_img: bool) -> None:
        """Validate in one process as SRModel does, with names that keep folder and suffix, so that no image replaces another."""
        loader = _Named(dataloader) if save_img else dataloader
        if self.opt['val'].get('metrics') and not self._single_image:
            loader = _Noted(loader, self)
        super().nondist_validation(loader, current_iter, tb_logger, save_img)

    def dist_validation(self, dataloader: Any, current_iter: int, tb_logger: Any, save_img: bool) -> None:
        """The images shared out over the processes, with the numbers of one process, which SRModel leaves to rank 0.

        The results of single images are put together in their order, so that they are added up as in one process.
        """
        dataset = dataloader.dataset
        own: dict[int, dict[str, float]] = {}
        for index in range(self.opt['rank'], len(dataset), self.opt['world_size']):
            self._single_image = True
            try:
                image = DataLoader(_Images(dataset, [index]))
                self.nondist_validation(image, current_iter, None, save_img)
            finally:
                self._single_image = False
            own[index] = dict(self.metric_results) if self.opt['val'].get('metrics') else {}
        gathered: list[dict] = [{}] * self.opt['world_size']
        torch.distributed.all_gather_object(gathered, own)
        if not self.opt['val'].get('metrics'):
            return
        results = {index: values for part in gathered for index, values in part.items()}
        self._of_images = [results[index] for index in range(len(dataset))]
        name = dataset.opt['name']
        self._initialize_best_metric_results(name)
        self.metric_results = {
            metric: sum(image[metric] for image in self._of_images) / len(dataset)
            for metric in self.opt['val']['metrics']
        }
        for metric, value in self.metric_results.items():
            self._update_best_metric_result(name, metric, value, current_iter)
        self._log_validation_metric_values(current_iter, name, tb_logger)

    def _update_best_metric_result(self, dataset: str, metric: str, value: float, iteration: int) -> None:
        """As SRModel does; a mean that infinite values hide gives way to that of the other images.

        In a training that one is never the best: it is of fewer images than others are.
        """
        if self._single_image:
            return
        if not math.isfinite(value):
            value = self.metric_results[metric] = self._mean_of_others(dataset, metric, value)
            if self.is_train:
                return
        super()._update_best_metric_result(dataset, metric, value, iteration)

    def _mean_of_others(self, dataset: str, metric: str, mean: float) -> float:
        """Say what has made a mean no number; the mean of the images whose value is finite, `mean` where none is."""
        values = [image[metric] for image in self._of_images]
        others = [value for value in values if math.isfinite(value)]
        odd = f'{len(values) - len(others)} of {counted(len(values), "image")}'
        if math.isnan(mean):
            what = f'{metric} is not a number for {odd}'
        else:
            what = f'{metric} is infinite for {odd}: PSNR is where an image equals its HR, as flat ones do'
            if others:
                mean = sum(others) / len(others)
                what += f'. The mean, {mean:.4f}, is that of the others'
        uncounted = '. It does not count for the best result: take such images out of the set' if self.is_train else ''
        get_root_logger().warning(f'{dataset}: {what}{uncounted}.')
        return mean

    def _log_validation_metric_values(self, *result: Any) -> None:
        if not self._single_image:
            super()._log_validation_metric_values(*result)

    def best_results(self) -> dict[str, Any]:
        """The best validation results in plain floats: NumPy's own are refused when the file is read safely."""
        return {
            dataset: {metric: {**record, 'val': float(record['val'])} for metric, record in metrics.items()}
            for dataset, metrics in getattr(self, 'best_metric_results', {}).items()
        }


class _Images(Subset):
    """Some images of a validation set, under its options."""

    dataset: Any

    @property
    def opt(self) -> dict[str, Any]:
        return self.dataset.opt

    @property
    def paths(self) -> list:
        return self.dataset.paths


class _Noted:
    """A loader of a validation set, which notes the metrics of each image in its model: SRModel keeps their sum alone."""

    def __init__(self, loader: Any, model: ValidatedModel) -> None:
        self._loader, self._model, self.dataset = loader, model, loader.dataset

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        model, sums = self._model, defaultdict[str, float](float)
        model._of_images = []
        for data in self._loader:
            yield data  # SRModel adds the metrics of this image before it asks for the next
            model._of_images.append(dict(model.metric_results))
            for metric, value in model.metric_results.items():
                sums[metric] += value
            model.metric_results = dict.fromkeys(model.metric_results, 0)
        model.metric_results = dict(sums)


class _Named:
    """A loader of a validation set, in which each image has the path that it is to be written under."""

    def __init__(self, loader: Any) -> None:
        self._loader, self.dataset = loader, loader.dataset

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        names = image_names(getattr(self.dataset, 'paths', []), self.dataset.opt.get('dataroot_lq', ''))
        for data in self._loader:
            path = data['lq_path'][0]
            yield {**data, 'lq_path': [f'{names[path]}.png']} if path in names else data


def image_names(paths: Sequence[str | dict[str, str]], root: str) -> dict[str, str]:
    """A name for each image of a set, unlike that of every other.

    Args:
        paths: Paths of BasicSR's datasets: keys of an LMDB, or paths below `root`; for pairs, under `lq_path`.
        root: The folder that they lie in.

    Returns:
        By path: the name of the file without its suffix, as BasicSR has it; where several images have the same, their
        path below `root` with _ between its parts, with a number where even that is not enough.
    """
    own = [path['lq_path'] if isinstance(path, dict) else path for path in paths]
    stems = {path: os.path.splitext(os.path.basename(path))[0] for path in own}
    shared = {stem for stem, count in Counter(stems.values()).items() if count > 1}
    names = {path: stem for path, stem in stems.items() if stem not in shared}
    taken = set(names.values()) | shared
    for path in own:
        if path in names:
            continue
        below = os.path.relpath(path, root) if os.path.isabs(path) else os.path.normpath(path)
        name = below.removeprefix(f'{os.path.normpath(root)}{os.sep}').replace(os.sep, '_').replace('.', '_')
        numbered = (name if number == 1 else f'{name}_{number}' for number in itertools.count(1))
        names[path] = next(candidate for candidate in numbered if candidate not in taken)
        taken.add(names[path])
    return names
