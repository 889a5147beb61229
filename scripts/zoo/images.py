"""The training images of the shipped weights, made again from the Debian packages that carry them.

    python scripts/zoo/images.py OUT [--packages DIR]

images.tsv (beside this file) lists each image: package and version, path in the package ("archive!member" for a file
in a zip archive), sha256 of that file, author, licence, and the factor by which it is scaled down (Lanczos), which
removes JPEG blocks and sensor noise. Packages are taken from --packages or fetched with `apt-get download`.
"""
import argparse
import csv
import hashlib
import io
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

from PIL import Image

TABLE = Path(__file__).with_name('images.tsv')


def rows() -> list[dict[str, str]]:
    with open(TABLE, newline='', encoding='utf-8') as file:
        return list(csv.DictReader(file, delimiter='\t'))


def package_file(folder: Path, name: str, version: str) -> Path:
    """The .deb of a package at a version; fetched into `folder` when it is not there."""
    file = folder / f'{name}_{version.replace(":", "%3a")}_all.deb'
    if not file.exists():
        command = ['apt-get', 'download', f'{name}={version}']
        if subprocess.run(command, cwd=folder).returncode or not file.exists():
            sys.exit(f'{name} {version} could not be fetched: get {file.name} from a Debian mirror or '
                     f'snapshot.debian.org, put it into {folder} and start again')
    return file


def members(package: Path, wanted: set[str]) -> dict[str, bytes]:
    """The bytes of the wanted paths of a package; paths in zip archives are written archive!member."""
    outer = {path.split('!')[0] for path in wanted}
    found: dict[str, bytes] = {}
    with subprocess.Popen(['dpkg-deb', '--fsys-tarfile', str(package)], stdout=subprocess.PIPE) as unpack:
        with tarfile.open(fileobj=unpack.stdout, mode='r|') as archive:
            for entry in archive:
                path = entry.name.removeprefix('./')
                if path in outer and entry.isfile():
                    found[path] = archive.extractfile(entry).read()
    for path in wanted:
        if '!' in path:
            archive_path, member = path.split('!')
            with zipfile.ZipFile(io.BytesIO(found[archive_path])) as inner:
                found[path] = inner.read(member)
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
            content = contents[row['path']]
            if hashlib.sha256(content).hexdigest() != row['sha256']:
                sys.exit(f'{row["path"]} of {name} {version} is another file than {TABLE.name} describes')
            target = arguments.out / f'{row["name"]}.png'
            partial = target.with_suffix('.partial')
            scaled(content, float(row['factor'])).save(partial, 'PNG')
            partial.rename(target)
        print(f'{name} {version}: {len(images)} images')


if __name__ == '__main__':
    main()
