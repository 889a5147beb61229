"""`rfdn merge`: prepared databases as one, as if they had been prepared in one run.

The shards of `rfdn prepare --shard I/N` are put together in their order; other sets, prepared with the same settings
(DIV2K and Flickr2K as DF2K), in the order in which they are given.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

import lmdb

from rfdn_plugin.data.lmdb import reading
from rfdn_plugin.data.prepare import only_writer_of, write_databases
from rfdn_plugin.data.prepare.database import PARTIAL_SUFFIX, DatabaseWriter, read_records, read_settings
from rfdn_plugin.data.prepare.summary import Summary
from rfdn_plugin.data.prepare.tiles import entries_of
from rfdn_plugin.data.prepare.work import Result
from rfdn_plugin.utils.errors import RFDNError


@dataclass(frozen=True)
class _Part:
    """The databases of one folder that `rfdn prepare` wrote."""

    folder: Path
    paths: dict[int, Path]  # by scale, 1 for HR
    settings: dict[int, dict]
    records: list[dict]

    @property
    def shard(self) -> str | None:
        return self.settings[1]['shard']

    @property
    def settings_of_whole(self) -> dict[int, dict]:
        return {scale: settings | {'shard': None} for scale, settings in self.settings.items()}


def merge(folders: Sequence[Path], out: Path, report: Callable[[str], None] = print) -> Summary:
    """Write the databases of `folders` as one set of databases to `out`; interrupted, the same call goes on.

    Args:
        folders: Folders that `rfdn prepare` finished: all the shards of a set in any order, or several sets.
        out: The folder for the result.
        report: Takes each line that is meant for the user.

    Raises:
        RFDNError: A folder is not finished, the settings differ, a shard is missing or given twice, a key occurs
            twice.
    """
    parts = _in_order([_read_part(Path(folder)) for folder in folders])
    _refuse_equal_keys(parts)
    first = parts[0]
    records = [record for part in parts for record in part.records]
    with only_writer_of(out):
        writers = {
            scale: DatabaseWriter(out / first.paths[scale].name, settings)
            for scale, settings in first.settings_of_whole.items()
        }
        for writer in writers.values():
            if writer.records != (records if writer.finished else records[: len(writer.records)]):
                raise RFDNError(f'{writer.path} holds other images: give another --out, or delete it')
        if all(writer.finished for writer in writers.values()):
            report(f'{out} is finished already: nothing was done')
        else:
            taken = {scale: writer.taken for scale, writer in writers.items() if not writer.finished}
            with contextlib.closing(_results(parts, taken)) as results:
                write_databases(writers, results, len(records))
    paths = [writer.path for writer in writers.values()]
    return Summary.of(records, [], paths, first.settings[1]['crop_size'], first.settings[1]['step'])


def _read_part(folder: Path) -> _Part:
    if unfinished := sorted(folder.glob(f'*.lmdb{PARTIAL_SUFFIX}')):
        raise RFDNError(f'{unfinished[0]} is not finished: run its `rfdn prepare` again first')
    paths, settings = {}, {}
    for path in sorted(folder.glob('*.lmdb')):
        made_with = read_settings(path)
        if made_with is not None:
            if made_with['scale'] in paths:
                raise RFDNError(f'{folder} holds cropped and whole databases: move one kind to a folder of its own')
            paths[made_with['scale']], settings[made_with['scale']] = path, made_with
    if 1 not in paths:
        raise RFDNError(f'{folder} holds no HR database made by `rfdn prepare`: give the folder that was its --out')
    records = list(read_records(paths[1]))
    for path in paths.values():
        if list(read_records(path)) != records:
            raise RFDNError(f'{path} and {paths[1]} hold different images: prepare {folder} again')
    return _Part(folder, dict(sorted(paths.items())), dict(sorted(settings.items())), records)


def _in_order(parts: list[_Part]) -> list[_Part]:
    first = parts[0]
    for part in parts[1:]:
        mine, theirs = first.settings_of_whole, part.settings_of_whole
        if mine.keys() != theirs.keys():
            raise RFDNError(f'{first.folder} has scales {sorted(mine)[1:]}, {part.folder} has {sorted(theirs)[1:]}')
        for scale in mine:
            for name in mine[scale]:
                if mine[scale][name] != theirs[scale].get(name):
                    raise RFDNError(
                        f'{part.paths[scale]} was made with other settings than {first.paths[scale]} '
                        f'({name}: {theirs[scale].get(name)} and {mine[scale][name]}): prepare one of them again'
                    )
    shards = [part.shard for part in parts if part.shard is not None]
    if not shards:
        return parts
    if len(shards) < len(parts):
        whole = next(part for part in parts if part.shard is None)
        raise RFDNError(f'{whole.folder} is not a shard, others are: merge the shards first')
    counts = {shard.split('/')[1] for shard in shards}
    if len(counts) > 1:
        raise RFDNError(f'the shards are of different divisions ({" ".join(shards)}): give those of one set')
    given = [int(shard.split('/')[0]) for shard in shards]
    if sorted(given) != list(range(1, int(counts.pop()) + 1)):
        raise RFDNError(f'shards {" ".join(shards)} are given: every shard of the set is needed, each once')
    return [part for _, part in sorted(zip(given, parts, strict=True), key=lambda item: item[0])]


def _refuse_equal_keys(parts: list[_Part]) -> None:
    owners: dict[str, Path] = {}
    folders = [part.folder.resolve() for part in parts]
    for part in parts:
        if folders.count(part.folder.resolve()) > 1:
            raise RFDNError(f'{part.folder} is given twice: name each folder once')
        for record in part.records:
            if 'key' in record and owners.setdefault(record['key'], part.folder) is not part.folder:
                raise RFDNError(
                    f'key {record["key"]} is in {owners[record["key"]]} and in {part.folder}: '
                    'rename the image in one of them and prepare it again'
                )


def _results(parts: list[_Part], taken: dict[int, int]) -> Generator[Result, None, None]:
    """The records and values of all parts from the first image that a database lacks; `taken` by scale."""
    number = 0
    for part in parts:
        if number + len(part.records) <= min(taken.values()):
            number += len(part.records)
            continue
        with contextlib.ExitStack() as stack:
            transactions = {}
            for scale in taken:
                transactions[scale] = stack.enter_context(reading(part.paths[scale], buffers=True))
            crop_size, step = part.settings[1]['crop_size'], part.settings[1]['step']
            for record in part.records:
                if number >= min(taken.values()):
                    wanted = [scale for scale in taken if number >= taken[scale]]
                    yield (
                        record,
                        {
                            scale: [
                                _value(transactions[scale], key, part.paths[scale])
                                for key, _, _ in entries_of(record, crop_size, step, scale)
                            ]
                            for scale in wanted
                        },
                    )
                number += 1


def _value(transaction: lmdb.Transaction, key: str, path: Path) -> bytes | memoryview:
    value = transaction.get(key.encode('ascii'))
    if value is None:
        raise RFDNError(f'{path} lacks key {key}: `rfdn verify {path}` tells what else is wrong; prepare it again')
    return value
