#!/usr/bin/env python3
"""Write what the pages take from elsewhere: docs/options.md from the schemas, and the tables of results from the cards.

Run `python scripts/write_docs.py` after `scripts/write_options.py`, or after a change of the shipped weights, and
commit what it wrote; `tests/docs` fails where the two differ.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
Schema = dict[str, Any]

TITLES = {'train': 'Training: `rfdn train`', 'test': 'Test: `rfdn test`', 'leaderboard': 'Table: `rfdn leaderboard`'}
HEAD = """# Option files: every key

Written by `python scripts/write_docs.py` from the schemas in `options/schemas/`: change the descriptions in
`rfdn_plugin/options/` and `rfdn_plugin/leaderboard/options.py`, not here.

A key without a default must be given. `null` is written `~` in YAML. *(ours)* marks what BasicSR alone does not know.
[training.md](training.md) and [leaderboard.md](leaderboard.md) explain how the keys work together.
"""
BICUBIC = {
    2: {'Set5': (33.68, 0.9304), 'Set14': (30.33, 0.8700), 'B100': (29.56, 0.8435)},
    3: {'Set5': (30.40, 0.8690), 'Set14': (27.63, 0.7760), 'B100': (27.21, 0.7391)},
    4: {'Set5': (28.43, 0.8113), 'Set14': (26.09, 0.7049), 'B100': (25.96, 0.6682)},
}
"""PSNR and SSIM of MATLAB's bicubic, measured by `rfdn leaderboard -opt zoo.yml`."""


# --- docs/options.md -----------------------------------------------------------------------------------------------
class Page:
    """The tables of one schema: a section for each struct, in the order of the keys."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self.queue: list[tuple[str, Schema]] = []
        self.seen: set[str] = set()

    def sections(self) -> Iterator[str]:
        self.queue = [('', self.schema)]
        while self.queue:
            place, struct = self.queue.pop(0)
            title = struct.get('title', '')
            if (key := f'{place} {title}') in self.seen:
                continue
            self.seen.add(key)
            table = self.table(place, struct)
            if table:
                text = struct.get('description', '') if place else ''
                yield '\n\n'.join(part for part in (f'### `{place}`' if place else '', text, table) if part)

    def table(self, place: str, struct: Schema) -> str:
        required = struct.get('required', [])
        rows = []
        for name, value in struct.get('properties', {}).items():
            whole = f'{place}.{name}' if place else name
            below = list(self.structs(value))
            default = '' if name in required else self.default(value, bool(below))
            rows.append(f'| `{name}` | {self.kind(value)} | {default} | {_cell(value.get("description", ""))} |')
            self.queue += [(self.place(whole, one, len(below)), one) for one in below]
        if isinstance(more := struct.get('additionalProperties'), dict):
            below = list(self.structs(more))
            self.queue += [(self.place(f'{place}.NAME', one, len(below)), one) for one in below]
        return '\n'.join(['| key | value | default | meaning |', '|---|---|---|---|', *rows]) if rows else ''

    def place(self, whole: str, struct: Schema, alternatives: int) -> str:
        kind = struct['properties'].get('type', {})
        names = [kind['const']] if 'const' in kind else [name for name in kind.get('enum', []) if name]
        if alternatives < 2:
            return whole
        return f'{whole} ({", ".join(map(str, names)) if 0 < len(names) < 4 else struct["title"]})'

    def resolve(self, value: Schema) -> Schema:
        return self.schema['$defs'][value['$ref'].rsplit('/', 1)[1]] if '$ref' in value else value

    def structs(self, value: Schema) -> Iterator[Schema]:
        """The structs with keys of their own that a value may be; registered parts, which have no $ref, not."""
        if '$ref' in value:
            yield self.resolve(value)
        for one in [*value.get('anyOf', []), *value.get('oneOf', []), *([value['items']] if 'items' in value else [])]:
            yield from self.structs(one)
        if isinstance(value.get('additionalProperties'), dict):
            yield from self.structs(value['additionalProperties'])

    def default(self, value: Schema, is_struct: bool) -> str:
        if 'default' not in value or is_struct:
            return ''
        return '`~`' if value['default'] is None else f'`{json.dumps(value["default"])}`'

    def kind(self, value: Schema) -> str:
        choices = [*value.get('anyOf', []), *value.get('oneOf', [])]
        if choices:
            kinds = dict.fromkeys(self.kind(one) for one in choices if one.get('type') != 'null')
            text = 'a name with arguments' if len(kinds) > 8 or 'properties' in choices[0] else ' or '.join(kinds)
            return f'{text}, `~`' if any(one.get('type') == 'null' for one in choices) else text
        if '$ref' in value:
            return 'a section'
        if 'const' in value:
            return f'`{value["const"]}`'
        if 'enum' in value:
            return ', '.join(f'`{"~" if one is None else one}`' for one in value['enum'])
        if value.get('type') == 'array':
            return f'list of {self.kind(value["items"])}' if 'items' in value else 'list'
        plain = {'object': 'mapping', 'string': 'text', 'integer': 'whole number', 'boolean': '`true`, `false`'}
        return plain.get(value.get('type', ''), value.get('type', 'any')) + _range(value)


def _range(value: Schema) -> str:
    least, above = value.get('minimum'), value.get('exclusiveMinimum')
    most, below = value.get('maximum'), value.get('exclusiveMaximum')
    limits = [f'≥ {least}' if least is not None else '', f'> {above}' if above is not None else '']
    limits += [f'≤ {most}' if most is not None else '', f'< {below}' if below is not None else '']
    return ''.join(f' {limit}' for limit in limits if limit)


def _cell(text: str) -> str:
    return ' '.join(text.split()).replace('|', '\\|')


def _registered(choices: list[Schema], names: list[str] | None = None) -> str:
    rows = []
    for choice in choices:
        if names is None or choice['title'] in names:
            arguments = [
                f'`{name}`' + (f' {json.dumps(one["default"])}' if 'default' in one else '')
                for name, one in choice['properties'].items()
                if name != 'type'
            ]
            rows.append(f'| `{choice["title"]}` | {_cell(", ".join(arguments))} |')
    return '\n'.join(['| type | arguments and their defaults |', '|---|---|', *rows])


def options_page() -> str:
    """The text of docs/options.md."""
    from rfdn_plugin.archs import NETWORKS

    parts = [HEAD.rstrip()]
    for kind, title in TITLES.items():
        schema = json.loads((REPOSITORY / f'options/schemas/{kind}.json').read_text(encoding='utf-8'))
        parts += [f'## {title}', *Page(schema).sections()]
        if kind == 'train':
            networks = schema['properties']['network_g']['oneOf']
            others = ', '.join(f'`{one["title"]}`' for one in networks if one['title'] not in NETWORKS)
            train, val = (schema['$defs'][name]['properties'] for name in ('TrainSection', 'ValSection'))
            losses = [one for one in train['pixel_opt']['anyOf'] if 'title' in one]
            metrics = val['metrics']['anyOf'][0]['additionalProperties']['oneOf']
            parts += [
                '### Networks (`network_g`)',
                _registered(networks, list(NETWORKS)),
                f'BasicSR brings {others}; `custom_imports` brings those of other packages.',
                '### Losses (`train.pixel_opt` and others)',
                _registered(losses),
                '### Metrics (`val.metrics.NAME`)',
                _registered(metrics),
            ]
    return '\n\n'.join(parts) + '\n'


# --- results -------------------------------------------------------------------------------------------------------
def results_table() -> str:
    """PSNR and SSIM of the shipped weights, by their cards, between bicubic and the paper."""
    from rfdn_plugin.leaderboard.report.published import published_row
    from rfdn_plugin.zoo import list_zoo

    lines = ['| | Set5 | Set14 | B100 |', '|---|---|---|---|']
    zoo = {entry['name']: entry['card'] for entry in list_zoo(REPOSITORY / 'rfdn_plugin/zoo')}
    for scale, bicubic in BICUBIC.items():
        name = f'zoo:RFDN_x{scale}'
        found = re.findall(r'(\w+) ([\d.]+) dB / ([\d.]+)', zoo[name]['metrics'])
        own = {set_name: (float(psnr), float(ssim)) for set_name, psnr, ssim in found}
        paper = {key: (value['psnr_y'], value['ssim_y']) for key, value in published_row('RFDN', scale)['sets'].items()}
        for title, figures in (('bicubic', bicubic), (f'`{name}`', own), ('RFDN, the paper', paper)):
            cells = [f'{figures[key][0]:.2f} / {figures[key][1]:.4f}' for key in bicubic]
            lines.append(f'| x{scale} {title} | {" | ".join(cells)} |')
    return '\n'.join(lines)


def pages() -> dict[Path, str]:
    """Every page that holds something written here, with its whole text."""
    written = {Path('docs/options.md'): options_page()}
    for path in (Path('README.md'), Path('docs/weights.md')):
        text = (REPOSITORY / path).read_text(encoding='utf-8')
        marked = re.compile(r'(<!-- results, by scripts/write_docs.py -->\n).*?(<!-- end of results -->)', re.DOTALL)
        written[path], count = marked.subn(lambda match: f'{match[1]}{results_table()}\n{match[2]}', text)
        if count != 1:
            raise SystemExit(f'{path}: the marks of the table of results are missing')
    return written


def main() -> None:
    for path, text in pages().items():
        (REPOSITORY / path).write_text(text, encoding='utf-8')
        print(path)


if __name__ == '__main__':
    main()
