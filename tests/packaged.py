"""What is in the wheel and the sdist in a folder: all of the package, and nothing beside it.

python tests/packaged.py dist
"""

import pathlib
import sys
import tarfile
import zipfile

ROOT = pathlib.Path(__file__).resolve().parents[1]


def main(folder):
    (wheel,), (sdist,) = (sorted(pathlib.Path(folder).glob(ending)) for ending in ("*.whl", "*.tar.gz"))
    package = ROOT / "keras_mlp"
    files = {str(path.relative_to(ROOT)) for path in package.rglob("*") if path.is_file()}
    files = {name for name in files if "__pycache__" not in name} | {"keras_mlp_command.py"}
    inside = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    with tarfile.open(sdist) as archive:
        source = {name.partition("/")[2] for name in archive.getnames()}
    problems = [f"{wheel.name} has not {name}" for name in sorted(files - inside)]
    problems += [f"{wheel.name} has {name}" for name in sorted(inside - files)]
    problems += [f"{sdist.name} has not {name}" for name in sorted((files | {"setup.py", "README.md"}) - source)]
    print(*problems or [f"{wheel.name}: {len(inside)} files, {sdist.name}: {len(source)}"], sep="\n")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
