"""Who may come in: nobody, until a person or the configuration makes a user."""

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group, Permission

from entitlements.config import SidecarConfig

VIEWERS = "viewers"
"""The group whose members may look at everything of the sidecar's and explain it, and change nothing."""


def prepare_access(config: SidecarConfig) -> None:
    """Makes the group of viewers, and the user of SIDECAR_ADMIN_USERNAME with the password as it is now."""
    viewers, _ = Group.objects.get_or_create(name=VIEWERS)
    viewers.permissions.set(
        Permission.objects.filter(content_type__app_label="entitlements", codename__startswith="view_")
    )
    if config.sidecar_admin_username is None or config.sidecar_admin_password is None:
        return
    user, _ = get_user_model().objects.get_or_create(username=config.sidecar_admin_username)
    password = config.sidecar_admin_password.get_secret_value()
    if not user.check_password(password):
        user.set_password(password)
    user.is_active = user.is_staff = user.is_superuser = True
    user.save()
