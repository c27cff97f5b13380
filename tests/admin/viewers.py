"""Somebody who may look and change nothing."""

from pathlib import Path

from emulator.server import Emulator
from tests.harness import environment_for
from tests.management.command_runs import run

VIEWER = ("viewer", "an entirely different staple")
_MAKE = """
from django.contrib.auth.models import Group, User
user = User.objects.create_user("{}", password="{}", is_staff=True)
user.groups.add(Group.objects.get(name="viewers"))
"""


async def make_viewer(emulator: Emulator, data_dir: Path) -> None:
    """Makes VIEWER, a member of the group, in the database in this folder."""
    environment = environment_for(emulator, data_dir)
    ended = await run(environment, "shell", "--command", _MAKE.format(*VIEWER))
    assert ended.code == 0, ended.output
