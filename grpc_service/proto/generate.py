"""Writes grpc_service/generated from sidecar.proto; with --check, says whether it is up to date instead."""

import argparse
import filecmp
import subprocess
import sys
import tempfile
from importlib import resources
from pathlib import Path

HERE = Path(__file__).resolve().parent
GENERATED = HERE.parent / "generated"
# The descriptor's name is part of the contract, but the file need not lie that deep.
VIRTUAL_FOLDER = "stigg/sidecar/v1"
IMPORT_OF_PROTOC = "from stigg.sidecar.v1 import sidecar_pb2 as stigg_dot_sidecar_dot_v1_dot_sidecar__pb2"
IMPORT_OF_OURS = IMPORT_OF_PROTOC.replace("stigg.sidecar.v1", "grpc_service.generated")
PLUGIN_FOLDER = Path(sys.executable).parent
STUBS_IMPORT_OF_PROTOC = "from stigg.sidecar.v1 import sidecar_pb2"


def generate(target: Path) -> None:
    """Writes the stubs and their types into a folder."""
    with tempfile.TemporaryDirectory() as scratch:
        command = [
            *(sys.executable, "-m", "grpc_tools.protoc"),
            f"-I{VIRTUAL_FOLDER}={HERE}",
            f"-I{resources.files('grpc_tools') / '_proto'}",
            f"--plugin=protoc-gen-mypy={PLUGIN_FOLDER / 'protoc-gen-mypy'}",
            f"--plugin=protoc-gen-mypy_grpc={PLUGIN_FOLDER / 'protoc-gen-mypy_grpc'}",
            *(f"--{kind}_out={scratch}" for kind in ("python", "grpc_python", "mypy", "mypy_grpc")),
            f"{VIRTUAL_FOLDER}/sidecar.proto",
        ]
        subprocess.run(command, check=True)  # noqa: S603 - our own arguments
        for file in sorted((Path(scratch) / VIRTUAL_FOLDER).iterdir()):
            text = file.read_text().replace(IMPORT_OF_PROTOC, IMPORT_OF_OURS)
            text = text.replace(STUBS_IMPORT_OF_PROTOC, "from grpc_service.generated import sidecar_pb2")
            (target / file.name).write_text(
                text.replace("stigg.sidecar.v1.sidecar_pb2", "grpc_service.generated.sidecar_pb2")
            )


def differences(target: Path) -> list[str]:
    """The names of the files that are not what sidecar.proto makes today."""
    with tempfile.TemporaryDirectory() as scratch:
        generate(Path(scratch))
        names = sorted(file.name for file in Path(scratch).iterdir())
        same, _, _ = filecmp.cmpfiles(scratch, target, names, shallow=False)
        return [name for name in names if name not in same]


def main() -> None:
    """Generates, or exits with 1 and a sentence when the stubs are out of date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 when out of date")
    if not parser.parse_args().check:
        generate(GENERATED)
    elif outdated := differences(GENERATED):
        sys.exit(f"grpc_service/generated is out of date ({', '.join(outdated)}): run `make proto`.")


if __name__ == "__main__":
    main()
