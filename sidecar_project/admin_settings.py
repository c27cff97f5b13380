"""Django's settings that the admin pages need; left out whole with SIDECAR_ADMIN_ENABLED=0."""

from datetime import timedelta
from typing import Any

from csp.constants import NONE, SELF, UNSAFE_EVAL, UNSAFE_INLINE

SESSION_HOURS = 12
"""A login lasts a shift."""
FAILED_LOGINS = 5
"""After so many failures a name is locked out where they came from."""
LOCKOUT_MINUTES = 15
LOGIN_PATH = "/admin/login/"

APPS = [
    "unfold.apps.BasicAppConfig",  # basic: our own site is made when its first visitor comes
    "django.contrib.admin.apps.SimpleAdminConfig",  # simple: nothing is searched for at start
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "axes",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "entitlements.admin.requests.refusing_what_no_page_sends",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "axes.middleware.AxesMiddleware",
]
_CSP = {
    "DIRECTIVES": {
        "default-src": [NONE],
        # No script stands in a page. Alpine.js, which unfold's pages are made with, evaluates the expressions
        # of its attributes: they are the templates' own, and no data of the cloud is ever put into one.
        "script-src": [SELF, UNSAFE_EVAL],
        # Unfold writes its colours, and Alpine.js widths and visibility, as styles of the page.
        "style-src": [SELF, UNSAFE_INLINE],
        "img-src": [SELF, "data:"],
        "font-src": [SELF],
        "connect-src": [SELF],
        "form-action": [SELF],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
        "object-src": [NONE],
    }
}
_STATIC_URL = "/static/"
_NAME = "entitlements.admin.navigation"
OTHERS: dict[str, Any] = {
    "TEMPLATES": [
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "APP_DIRS": True,
            "OPTIONS": {
                "context_processors": [
                    "django.template.context_processors.request",
                    "django.contrib.auth.context_processors.auth",
                    "django.contrib.messages.context_processors.messages",
                ]
            },
        }
    ],
    "STATIC_URL": _STATIC_URL,
    "LOGIN_URL": LOGIN_PATH,
    "LOGIN_REDIRECT_URL": "/admin/",
    "AUTHENTICATION_BACKENDS": [
        "axes.backends.AxesStandaloneBackend",
        "django.contrib.auth.backends.ModelBackend",
    ],
    "AUTH_PASSWORD_VALIDATORS": [
        {"NAME": f"django.contrib.auth.password_validation.{name}"}
        for name in (
            "UserAttributeSimilarityValidator",
            "MinimumLengthValidator",
            "CommonPasswordValidator",
            "NumericPasswordValidator",
        )
    ],
    # Names of their own: browsers keep one cookie for all ports of localhost.
    "SESSION_COOKIE_NAME": "sidecar_session",
    "CSRF_COOKIE_NAME": "sidecar_csrf",
    "SESSION_COOKIE_AGE": SESSION_HOURS * 3600,
    "CONTENT_SECURITY_POLICY": _CSP,
    # Counted in the database, so that all workers count together. The address is the connection's own: no
    # header that a client could write is believed.
    "AXES_FAILURE_LIMIT": FAILED_LOGINS,
    "AXES_COOLOFF_TIME": timedelta(minutes=LOCKOUT_MINUTES),
    "AXES_LOCKOUT_PARAMETERS": [["username", "ip_address"]],
    "AXES_RESET_ON_SUCCESS": True,
    "AXES_DISABLE_ACCESS_LOG": True,
    "AXES_VERBOSE": False,
    "AXES_LOCKOUT_TEMPLATE": "entitlements/locked_out.html",
    "UNFOLD": {
        "SITE_TITLE": "Stigg sidecar",
        "SITE_HEADER": "Stigg sidecar",
        "SITE_SYMBOL": "verified_user",
        "SITE_FAVICONS": [
            {"rel": "icon", "type": "image/svg+xml", "href": f"{_STATIC_URL}entitlements/favicon.svg"}
        ],
        "SITE_URL": None,
        "SHOW_VIEW_ON_SITE": False,
        "STYLES": [f"{_NAME}.stylesheet"],
        "SIDEBAR": {"show_search": False, "navigation": f"{_NAME}.navigation"},
        "COLORS": {
            "primary": {
                "50": "oklch(97.3% .01 185)",
                "100": "oklch(94% .04 185)",
                "200": "oklch(88% .08 185)",
                "300": "oklch(80% .11 185)",
                "400": "oklch(72% .12 185)",
                "500": "oklch(62% .11 187)",
                "600": "oklch(50% .09 190)",
                "700": "oklch(44% .08 192)",
                "800": "oklch(38% .065 194)",
                "900": "oklch(33% .05 196)",
                "950": "oklch(24% .04 198)",
            }
        },
    },
}
