"""Everything that a run leaves behind: JSON, CSV, Markdown, comparisons as PNG, and the HTML report."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any

from rfdn_plugin.leaderboard.options import ReportOptions
from rfdn_plugin.leaderboard.report.comparison import most_different_crop, write_comparison
from rfdn_plugin.leaderboard.report.html import render
from rfdn_plugin.leaderboard.report.tables import markdown, write_csv
from rfdn_plugin.utils.files import atomic_write


def write_outputs(board: dict[str, Any], images: list[dict[str, Any]], out: Path, options: ReportOptions) -> None:
    """Write all files of a board below `out`.

    Args:
        board: The content of leaderboard.json.
        images: What to show side by side: `scale`, `set`, `name`, `hr` and `images` by entry name (RGB, uint8).
        out: The folder.
        options: The crop's size.
    """
    out.mkdir(parents=True, exist_ok=True)
    names = _comparison_files(out / 'comparisons', images)
    texts = {index: captions(board, shown) for index, shown in enumerate(images)}
    for index, shown in enumerate(images):
        shown['crop'] = most_different_crop(shown['images'], options.crop)
        write_comparison(
            names[index],
            shown['hr'],
            shown['images'],
            captions=texts[index],
            title=f'{shown["set"]} / {shown["name"]}, x{shown["scale"]}',
            crop=shown['crop'],
        )
    for stale in set((out / 'comparisons').glob('*.png')) - set(names):
        stale.unlink()  # of an earlier run, which showed other images
    write_json(board, out / 'leaderboard.json')
    with atomic_write(out / 'leaderboard.md', 'w') as stream:
        stream.write(markdown(board))
    with atomic_write(out / 'leaderboard.html', 'w') as stream:
        stream.write(render(board, images, texts))
    for stale in [*out.glob('leaderboard-*.csv'), *out.glob('images-*.csv')]:
        stale.unlink()  # of another set-up, whose name differs
    write_csv(board, out)


def _comparison_files(folder: Path, images: list[dict[str, Any]]) -> list[Path]:
    """A file for each image, named after set, image and scale; numbered where two would share a name (`A/B`, `A_B`)."""
    files: list[Path] = []
    for shown in images:
        stem = re.sub(r'[^\w.-]+', '_', f'{shown["set"]}_{shown["name"]}_x{shown["scale"]}')
        candidates = itertools.chain([stem], (f'{stem}-{number}' for number in itertools.count(2)))
        taken = {file.name.casefold() for file in files}  # disks that do not tell A from a
        files.append(folder / next(f'{name}.png' for name in candidates if f'{name}.png'.casefold() not in taken))
    return files


def captions(board: dict[str, Any], shown: dict[str, Any]) -> dict[str, str]:
    """PSNR and SSIM of the whole image by entry name."""
    found = {}
    for row in board['entries']:
        image = row['sets'].get(shown['set'], {}).get('images', {}).get(shown['name'])
        if row['scale'] == shown['scale'] and image and row['source'] == 'measured':
            psnr = '∞' if image['psnr_y'] is None else f'{image["psnr_y"]:.2f}'
            found[row['name']] = f'{psnr} dB / {image["ssim_y"]:.4f}'
    return found


def write_json(board: dict[str, Any], path: Path) -> None:
    """The board as JSON; see docs/leaderboard.md for its form."""
    with atomic_write(path, 'w') as stream:
        json.dump(board, stream, indent=1, ensure_ascii=False, allow_nan=False)
