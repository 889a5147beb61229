"""Training curves of the shipped weights: loss and Set5 over iterations and over hours, from the logs of a run.

    python scripts/zoo/curve.py LOG[@START] [LOG[@START] ...] --out docs/zoo_RFDN_x2     # writes .csv and .png

Logs are read in the order given; where logs are gone, the .csv that this script wrote of them stands for them. Where a
resumed run repeats iterations, the later line counts. Of several validation sets the one called Set5 counts. START is added
to the iterations of a training that went on from the weights of another, and so counts from 0 again. Hours are those of the
training steps alone, as the log gives them: without validation and without the time between two starts. The loss of a part
that was not trained by L1 is left out.
"""

import argparse
import csv
import re
from pathlib import Path

STEP = re.compile(r'iter:\s*([\d,]+), lr:\(([\d.e+-]+),.*?([\d.]+) it/s.*?l_pix: ([\d.e+-]+)')
VALIDATED_SET = re.compile(r'INFO: Validation (\S+)')
VALIDATION = re.compile(r'# psnr: ([\d.]+)\s+Best: [\d.]+ @ \d+ iter')


def read(logs: list[tuple[Path, int]]) -> list[dict[str, float | None]]:
    """One row for each line of progress: iteration, hours, lr, loss, and PSNR-Y on Set5 where it was measured.

    Args:
        logs: Each with the number that is added to its iterations.
    """
    rows: dict[int, dict[str, float | None]] = {}
    for log, start in logs:
        if log.suffix == '.csv':
            rows |= _written(log)
            continue
        iteration, by_l1, validated = 0, True, 'Set5'
        for line in log.read_text(encoding='utf-8', errors='replace').splitlines():
            if created := re.search(r'Loss \[(\w+)\] is created', line):
                by_l1 = created[1] == 'L1Loss'
            elif started := VALIDATED_SET.search(line):
                validated = started[1]
            elif step := STEP.search(line):
                iteration = start + int(step[1].replace(',', ''))
                rows[iteration] = {
                    'iteration': iteration, 'lr': float(step[2]), 'rate': float(step[3]),
                    'loss': float(step[4]) if by_l1 else None, 'psnr': None,
                }  # fmt: skip
            elif validated == 'Set5' and (value := VALIDATION.search(line)) and iteration in rows:
                rows[iteration]['psnr'] = float(value[1])
    ordered = [rows[iteration] for iteration in sorted(rows)]
    seconds, before = 0.0, 0
    for row in ordered:
        seconds += (row['iteration'] - before) / row.pop('rate')
        before = row['iteration']
        row['hours'] = seconds / 3600
    return ordered


def _written(file: Path) -> dict[int, dict[str, float | None]]:
    """The rows of a CSV of this script, with the iterations a second that its hours stand for."""
    rows: dict[int, dict[str, float | None]] = {}
    iterations, hours = 0, 0.0
    with open(file, newline='', encoding='utf-8') as stream:
        for line in csv.DictReader(stream):
            row = {key: float(value) if value else None for key, value in line.items()}
            iteration = int(line['iteration'])
            seconds = (float(line['hours']) - hours) * 3600
            rows[iteration] = {**row, 'iteration': iteration, 'rate': (iteration - iterations) / max(seconds, 1e-9)}
            iterations, hours = iteration, float(line['hours'])
            del rows[iteration]['hours']
    return rows


def draw(rows: list[dict], file: Path) -> None:
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot

    figure, (above, below) = pyplot.subplots(2, 1, figsize=(8, 7), layout='constrained')
    measured = [row for row in rows if row['psnr'] is not None]
    above.plot([row['iteration'] for row in measured], [row['psnr'] for row in measured], '.-', color='tab:blue')
    above.set(ylabel='Set5, PSNR-Y in dB (averaged weights)', xlabel='iterations')
    hours = above.secondary_xaxis('top', functions=_axes(rows))
    hours.set_xticks(range(int(rows[-1]['hours']) + 1))
    hours.set_xlabel('hours of training steps on one thread')
    losses = [row for row in rows if row['loss'] is not None]
    width = max(1, len(losses) // 60)
    starts = range(0, len(losses) - width + 1, width)
    means = [sum(row['loss'] for row in losses[i : i + width]) / width for i in starts]
    below.plot([losses[i + width // 2]['iteration'] for i in starts], means, color='tab:orange')
    below.set(ylabel=f'L1 loss, mean of {width * 100} iterations', xlabel='iterations', yscale='log')
    for axes in (above, below):
        axes.grid(alpha=0.3)
    partial = file.with_name(file.name + '.partial')
    figure.savefig(partial, dpi=110, format='png')
    partial.rename(file)


def _axes(rows: list[dict]):
    import numpy

    iterations, hours = [row['iteration'] for row in rows], [row['hours'] for row in rows]
    return (lambda x: numpy.interp(x, iterations, hours)), (lambda x: numpy.interp(x, hours, iterations))


def _log(argument: str) -> tuple[Path, int]:
    name, at, start = argument.rpartition('@')
    return (Path(name), int(start)) if at and start.isdigit() else (Path(argument), 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('logs', type=_log, nargs='+', metavar='LOG[@START]')
    parser.add_argument('--out', type=Path, required=True, help='without its ending')
    arguments = parser.parse_args()
    rows = read(arguments.logs)
    if not rows:
        parser.error('no line of progress in these logs')
    with open(arguments.out.with_suffix('.csv'), 'w', newline='', encoding='utf-8') as file:
        writer = csv.DictWriter(file, ['iteration', 'hours', 'lr', 'loss', 'psnr'])
        writer.writeheader()
        writer.writerows({**row, 'hours': f'{row["hours"]:.4f}'} for row in rows)
    draw(rows, arguments.out.with_suffix('.png'))
    best = max((row for row in rows if row['psnr'] is not None), key=lambda row: row['psnr'], default=rows[-1])
    print(
        f'{rows[-1]["iteration"]} iterations in {rows[-1]["hours"]:.2f} hours; best {best["psnr"]} at {best["iteration"]}'
    )


if __name__ == '__main__':
    main()
