"""The training images of the shipped weights, made again from the Debian packages that carry them.

    python scripts/zoo/images.py OUT [--packages DIR]

images.tsv (beside this file) lists each image: package and version, path in the package ("archive!member" for a file
in a zip archive or a Qt resource file), sha256 of that file, author, licence, and the factor by which it is scaled down
(Lanczos), which removes JPEG blocks and sensor noise. Packages are taken from --packages or fetched with
`apt-get download` from the Debian releases in RELEASES, whatever the machine's own sources are.
"""

import argparse
import csv
import hashlib
import io
import os
import struct
import subprocess
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

TABLE = Path(__file__).with_name('images.tsv')
RELEASES = ('bookworm', 'trixie')
KEYS = '/usr/share/keyrings/debian-archive-keyring.gpg'


def rows() -> list[dict[str, str]]:
    with open(TABLE, newline='', encoding='utf-8') as file:
        return list(csv.DictReader(file, delimiter='\t'))


def package_lists(folder: Path) -> dict[str, str]:
    """The environment in which apt-get knows the packages of RELEASES; its lists lie in `folder`/apt."""
    state = folder.resolve() / 'apt'
    environment = {**os.environ, 'APT_CONFIG': str(state / 'apt.conf')}
    if not (state / 'apt.conf').exists():
        for name in ('lists/partial', 'cache/archives/partial'):
            (state / name).mkdir(parents=True, exist_ok=True)
        (state / 'sources.list').write_text(
            ''.join(f'deb [signed-by={KEYS}] http://deb.debian.org/debian {name} main\n' for name in RELEASES)
        )
        settings = {
            'Etc::SourceList': 'sources.list',
            'Etc::SourceParts': '-',
            'State::Lists': 'lists',
            'Cache': 'cache',
        }
        (state / 'apt.conf').write_text(''.join(f'Dir::{key} "{state / name}";\n' for key, name in settings.items()))
        if subprocess.run(['apt-get', 'update'], env=environment).returncode:
            (state / 'apt.conf').unlink()
            sys.exit('the package lists of Debian could not be fetched: check the network and start again')
    return environment


def package_file(folder: Path, name: str, version: str) -> Path:
    """The .deb of a package at a version; fetched into `folder` when it is not there."""
    file = folder / f'{name}_{version.replace(":", "%3a")}_all.deb'
    if not file.exists():
        command = ['apt-get', 'download', f'{name}={version}']
        if subprocess.run(command, cwd=folder, env=package_lists(folder)).returncode or not file.exists():
            sys.exit(
                f'{name} {version} could not be fetched: get {file.name} from a Debian mirror or '
                f'snapshot.debian.org, put it into {folder} and start again'
            )
    return file


def resources(content: bytes) -> Iterator[tuple[str, bytes]]:
    """Path and bytes of each file in a compiled Qt resource file (format versions 1 to 3; not compressed, or zlib)."""
    magic, version, tree, data, names = struct.unpack_from('>4s4i', content)
    if magic != b'qres' or version not in (1, 2, 3):
        sys.exit(f'not a Qt resource file of a known version: {magic!r}, {version}')
    node_size = 14 if version == 1 else 22

    def walk(node: int, folder: str) -> Iterator[tuple[str, bytes]]:
        name_offset, flags = struct.unpack_from('>ih', content, tree + node * node_size)
        first, second = struct.unpack_from('>2i', content, tree + node * node_size + 6)
        path = folder
        if node:  # the root has no name
            (length,) = struct.unpack_from('>H', content, names + name_offset)
            start = names + name_offset + 6  # length and hash come first
            path += content[start : start + 2 * length].decode('utf-16-be')
        if flags & 2:  # a folder: `first` children from node `second` on
            for child in range(second, second + first):
                yield from walk(child, f'{path}/' if path else '')
            return
        (length,) = struct.unpack_from('>I', content, data + second)
        part = content[data + second + 4 : data + second + 4 + length]
        if not flags & 4:  # 4 is zstd, which no image needs
            yield path, zlib.decompress(part[4:]) if flags & 1 else part

    yield from walk(0, '')


def inner_files(archive: bytes, wanted: set[str]) -> dict[str, bytes]:
    """The bytes of the wanted members of a zip archive or a Qt resource file."""
    if archive.startswith(b'qres'):
        return {path: content for path, content in resources(archive) if path in wanted}
    with zipfile.ZipFile(io.BytesIO(archive)) as inner:
        return {path: inner.read(path) for path in wanted}


def members(package: Path, wanted: set[str]) -> dict[str, bytes]:
    """The bytes of the wanted paths of a package; paths in archives are written archive!member."""
    inside: dict[str, set[str]] = {}
    for path in wanted:
        outer, _, member = path.partition('!')
        inside.setdefault(outer, set()).update([member] if member else [])
    found: dict[str, bytes] = {}
    with subprocess.Popen(['dpkg-deb', '--fsys-tarfile', str(package)], stdout=subprocess.PIPE) as unpack:
        with tarfile.open(fileobj=unpack.stdout, mode='r|') as archive:
            for entry in archive:
                path = entry.name.removeprefix('./')
                if path in inside and entry.isfile():
                    content = archive.extractfile(entry).read()
                    if path in wanted:
                        found[path] = content
                    if inside[path]:
                        files = inner_files(content, inside[path])
                        found.update({f'{path}!{member}': inner for member, inner in files.items()})
    return found


def scaled(content: bytes, factor: float) -> Image.Image:
    image = Image.open(io.BytesIO(content))
    if image.mode in ('RGBA', 'LA', 'P'):
        image = Image.alpha_composite(Image.new('RGBA', image.size, 'white'), image.convert('RGBA'))
    image = image.convert('RGB')
    size = tuple(int(side / factor) for side in image.size)
    return image if size == image.size else image.resize(size, Image.Resampling.LANCZOS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('out', type=Path, help='the folder for the images (PNG)')
    parser.add_argument('--packages', type=Path, help='where .deb files are, or are fetched to (OUT/packages)')
    arguments = parser.parse_args()
    folder = arguments.packages or arguments.out / 'packages'
    folder.mkdir(parents=True, exist_ok=True)
    arguments.out.mkdir(parents=True, exist_ok=True)
    Image.MAX_IMAGE_PIXELS = None  # the files are known by their sha256
    packages: dict[tuple[str, str], list[dict[str, str]]] = {}
    for row in rows():
        packages.setdefault((row['package'], row['version']), []).append(row)
    for (name, version), images in packages.items():
        contents = members(package_file(folder, name, version), {row['path'] for row in images})
        for row in images:
            content = contents.get(row['path'], b'')
            if hashlib.sha256(content).hexdigest() != row['sha256']:
                sys.exit(f'{row["path"]} of {name} {version} is another file than {TABLE.name} describes')
            target = arguments.out / f'{row["name"]}.png'
            partial = target.with_suffix('.partial')
            scaled(content, float(row['factor'])).save(partial, 'PNG', compress_level=1)
            partial.rename(target)
        print(f'{name} {version}: {len(images)} images')


if __name__ == '__main__':
    main()
