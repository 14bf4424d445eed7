"""Where a run takes place: its folders and the processes of its launcher, checked before anything else."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import torch
from torch import distributed

from ovseg.errors import UsageError, described
from ovseg.files.write import make_folder
from ovseg.mmseg.checks import building

LAUNCHERS = {
    "none": (),
    "pytorch": ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"),
    "slurm": ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_NODELIST"),
    "mpi": ("OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
}
"""The launchers of MMSegmentation, and the environment variables that each sets for its processes."""
NO_NUMBERS = ("MASTER_ADDR", "SLURM_NODELIST")


def writable_folder(what: str, folder: str | Path) -> Path:
    """The folder, made where it is missing.

    Raises:
        UsageError: it cannot be made, or no file can be written into it.
    """
    if not str(folder).strip():
        raise UsageError(f"expected {what} as a folder, got an empty text")
    made = make_folder(Path(folder))
    try:
        with tempfile.TemporaryFile(dir=made):
            pass
    except OSError as error:
        raise UsageError(f"expected {what} as a folder to write into, {folder}: {error.strerror}") from None
    return made


def connect(launcher: str) -> None:
    """Connect the processes of a launcher where mmengine would not.

    Raises:
        UsageError: no such launcher, or an environment variable that it sets is missing or no number.
    """
    if launcher not in LAUNCHERS:
        raise UsageError(f"unknown launcher {described(launcher)}: expected one of {', '.join(LAUNCHERS)}")
    for name in LAUNCHERS[launcher]:
        value = os.environ.get(name)
        if value is None:
            raise UsageError(
                f"launcher {launcher} needs the environment variable {name}, which is not set: "
                f"start the processes with {'tools/dist_test.sh' if launcher == 'pytorch' else launcher}"
            )
        if name not in NO_NUMBERS and not value.isdigit():
            raise UsageError(f"launcher {launcher} needs a number in {name}, got {described(value)}")
    if launcher == "pytorch" and not torch.cuda.is_available() and not distributed.is_initialized():
        with building("the launcher's environment"):
            distributed.init_process_group("gloo")  # mmengine's own way asks for a GPU
