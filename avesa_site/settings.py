"""All settings, read with django-environ from the environment and from `.env`, or from the file
named by AVESA_ENV_FILE instead of `.env`.

`.env.example` lists the variables with their defaults. With none of them set, everything runs on
the embedded defaults in `AVESA_VAR_DIR`. `avesa_site.checks` validates the values.
"""

import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import environ
from celery.schedules import crontab
from csp.constants import NONE, SELF
from django.core.exceptions import ImproperlyConfigured
from django.templatetags.static import static
from django.urls import reverse_lazy
from kombu import Exchange, Queue

BASE_DIR = Path(__file__).resolve().parent.parent

env = environ.Env()
if _chosen := os.environ.get("AVESA_ENV_FILE"):  # overrides the environment; .env does not
    environ.Env.read_env(BASE_DIR / _chosen, overwrite=True)
else:
    environ.Env.read_env(BASE_DIR / ".env")

# --- Django

DEBUG = env.bool("DEBUG", default=False)
INSECURE_SECRET_KEY = "insecure-default-key-for-local-trials-only"  # noqa: S105 (a check refuses it)
SECRET_KEY = env.str("SECRET_KEY", default="") or INSECURE_SECRET_KEY
SECRET_KEY_FALLBACKS = env.list("SECRET_KEY_FALLBACKS", default=[])
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["localhost", "127.0.0.1"])
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])
HTTPS = env.bool("HTTPS", default=False)

VAR_DIR = BASE_DIR / env.str("AVESA_VAR_DIR", default="var")
# What AVESA's processes write, such as SQLite's files, mails and messages, only their user reads.
os.umask(0o077)


def _state_folder(name: str) -> str:
    folder = VAR_DIR / name
    folder.mkdir(parents=True, exist_ok=True)
    return str(folder)


INSTALLED_APPS = [
    "unfold",
    "unfold.contrib.filters",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "csp",
    "common",
    "avesa_site",
    "tenants",
    "allauth",  # after tenants, whose templates take precedence
    "allauth.account",
    "allauth.mfa",
    "allauth.usersessions",
    "anymail",
    "analytics",
    "analytics.reports",
    "analytics.downloads",
    "loaders",
]

MIDDLEWARE = [
    "common.logs.RequestId",
    "common.limits.ReleaseLimits",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "tenants.accounts.throttling.BusyWithPasswords",
    "tenants.accounts.second_factor.DemandSecondFactor",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "avesa_site.urls"
WSGI_APPLICATION = "avesa_site.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "avesa_site" / "templates"],  # take precedence over django-unfold's
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

# --- Application database


def _database(url: str) -> dict[str, Any]:
    """Django's settings for `url`; without one, SQLite in WAL mode under `VAR_DIR`."""
    if not url:
        return {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": VAR_DIR / "avesa.sqlite3",
            "OPTIONS": {
                "transaction_mode": "IMMEDIATE",
                "timeout": 20,
                "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
            },
        }
    if urlsplit(url).scheme not in {"postgres", "postgresql"}:
        raise ImproperlyConfigured(
            "DATABASE_URL must look like postgres://user:password@host:5432/name, "
            "or be empty for SQLite."
        )
    config: dict[str, Any] = environ.Env.db_url_config(url)
    options = {"connect_timeout": 5} | config.get("OPTIONS", {})
    return config | {"CONN_MAX_AGE": 60, "CONN_HEALTH_CHECKS": True, "OPTIONS": options}


DATABASES = {"default": _database(env.str("DATABASE_URL", default=""))}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# --- Cache

CACHE_URL = env.str("CACHE_URL", default="")
CACHES = {
    "default": {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": CACHE_URL,
        "KEY_PREFIX": "avesa",
        # If the cache is down, pages are slower, and that is all.
        "OPTIONS": {
            "SERIALIZER": "common.cache_entries.JsonSerializer",
            "IGNORE_EXCEPTIONS": True,
            "LOG_IGNORED_EXCEPTIONS": True,
            "SOCKET_CONNECT_TIMEOUT": 1,
            "SOCKET_TIMEOUT": 2,
        },
    }
    if CACHE_URL
    else {
        "BACKEND": "common.cache_entries.SignedFileCache",
        "LOCATION": _state_folder("cache"),
        "OPTIONS": {"MAX_ENTRIES": 5000},
    }
}
METRIC_CACHE_SECONDS = 7 * 86_400

# --- Celery: the database is the source of truth about jobs; messages only wake workers

CELERY_BROKER_URL = env.str("CELERY_BROKER_URL", default="") or "filesystem://localhost"
if CELERY_BROKER_URL.startswith("filesystem:"):
    CELERY_BROKER_TRANSPORT_OPTIONS = {
        "data_folder_in": _state_folder("broker"),
        "data_folder_out": _state_folder("broker"),
        "control_folder": _state_folder("broker-control"),
        "polling_interval": 0.2,
    }
else:
    CELERY_BROKER_TRANSPORT_OPTIONS = {
        # Longer than the longest load, or Redis hands a running task to a second worker.
        "visibility_timeout": 6 * 3600,
        # A host that vanished does not close its connections.
        "socket_connect_timeout": 5,
        "socket_timeout": 30,
        "socket_keepalive": True,
    }
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
# If the broker is down, the sweeps send the message again later.
CELERY_TASK_PUBLISH_RETRY_POLICY = {"max_retries": 1, "interval_start": 0, "interval_max": 0}
# A worker serves all queues unless some are named: celery … worker --queues loads
CELERY_TASK_DEFAULT_QUEUE = CELERY_TASK_DEFAULT_EXCHANGE = "upkeep"
CELERY_TASK_DEFAULT_ROUTING_KEY = "upkeep"
CELERY_TASK_QUEUES = [
    Queue(name, Exchange(name), routing_key=name) for name in ("loads", "reports", "upkeep")
]
# Tasks in "upkeep" are short, so that maintenance never waits for long tasks.
CELERY_TASK_ROUTES = {
    "loaders.tasks.run_next_load": {"queue": "loads"},
    "loaders.tasks.advance_pipeline": {"queue": "loads"},
    "loaders.tasks.tidy_table": {"queue": "loads"},
    "loaders.tasks.check_integrity": {"queue": "loads"},
    "loaders.tasks.check_table": {"queue": "loads"},
    "loaders.tasks.purge_old_records": {"queue": "loads"},
    "analytics.reports.tasks.run_occurrence": {"queue": "reports"},
    "analytics.reports.tasks.send_delivery": {"queue": "reports"},
    "analytics.downloads.tasks.run_download": {"queue": "reports"},
    "analytics.downloads.tasks.mail_download": {"queue": "reports"},
    "avesa_site.tasks.warm_dashboards": {"queue": "reports"},
}
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_TIMEZONE = "UTC"
CELERY_BEAT_SCHEDULER = "avesa_site.beat:Scheduler"
CELERY_BEAT_SCHEDULE = {
    "canary": {"task": "avesa_site.tasks.canary", "schedule": 60.0},
    "sweep load jobs": {"task": "loaders.tasks.sweep_load_jobs", "schedule": 30.0},
    "sweep pipelines": {"task": "loaders.tasks.sweep_pipelines", "schedule": 15.0},
    "tell alerts": {"task": "tenants.tasks.tell_alerts", "schedule": 60.0},
    "watch freshness": {"task": "loaders.tasks.watch_freshness", "schedule": 300.0},
    "purge old records": {
        "task": "loaders.tasks.purge_old_records",
        "schedule": crontab(hour="4", minute="41"),
    },
    "check integrity": {
        # Each run checks what earlier ones did not, because the warehouse was down or they died.
        "task": "loaders.tasks.check_integrity",
        "schedule": crontab(hour="3-6", minute="17"),
        "kwargs": {"older_than_hours": 20},
    },
    "sweep reports": {"task": "analytics.reports.tasks.sweep_reports", "schedule": 30.0},
    "sweep downloads": {"task": "analytics.downloads.tasks.sweep_downloads", "schedule": 30.0},
    "purge downloads": {
        "task": "analytics.downloads.tasks.purge_downloads",
        "schedule": crontab(minute="23"),
    },
}

# --- Warehouse

CLICKHOUSE_URL = env.str("CLICKHOUSE_URL", default="clickhouse://default@127.0.0.1:9000/avesa")
CLICKHOUSE_SECRET = env.str("CLICKHOUSE_SECRET", default="")
CLICKHOUSE_READER_URL = env.str("CLICKHOUSE_READER_URL", default="")
CLICKHOUSE_READER_SECRET = env.str("CLICKHOUSE_READER_SECRET", default="")
CLICKHOUSE_CLUSTER = env.str("CLICKHOUSE_CLUSTER", default="")
CLICKHOUSE_POOL_SIZE = env.int("CLICKHOUSE_POOL_SIZE", default=8)
CLICKHOUSE_CONNECT_TIMEOUT = env.int("CLICKHOUSE_CONNECT_TIMEOUT", default=5)
CLICKHOUSE_READ_TIMEOUT = env.int("CLICKHOUSE_READ_TIMEOUT", default=30)
CLICKHOUSE_LOAD_TIMEOUT = env.int("CLICKHOUSE_LOAD_TIMEOUT", default=3600)
CLICKHOUSE_LOAD_MEMORY_MB = env.int("CLICKHOUSE_LOAD_MEMORY_MB", default=8192)
CLICKHOUSE_FILE_MEMORY_MB = env.int("CLICKHOUSE_FILE_MEMORY_MB", default=2048)
READER_THREADS = env.int("READER_THREADS", default=0)
READER_MEMORY_MB = env.int("READER_MEMORY_MB", default=0)
EXPORT_SECONDS = env.int("EXPORT_SECONDS", default=120)
EXPORT_MEGABYTES = env.int("EXPORT_MEGABYTES", default=500)
DOWNLOAD_JOB_ROWS = env.int("DOWNLOAD_JOB_ROWS", default=50_000)
DOWNLOAD_SECONDS = env.int("DOWNLOAD_SECONDS", default=3600)
DOWNLOAD_MEGABYTES = env.int("DOWNLOAD_MEGABYTES", default=2000)
DOWNLOAD_DAYS = env.int("DOWNLOAD_DAYS", default=7)
DOWNLOADS_AT_ONCE = env.int("DOWNLOADS_AT_ONCE", default=1)

# --- Lake

LAKE_BUCKET = env.str("LAKE_BUCKET", default="avesa-lake")
LAKE_ENDPOINT_URL = env.str("LAKE_ENDPOINT_URL", default="")
LAKE_REGION = env.str("LAKE_REGION", default="us-east-1")
LAKE_ACCESS_KEY_ID = env.str("LAKE_ACCESS_KEY_ID", default="")
LAKE_SECRET_ACCESS_KEY = env.str("LAKE_SECRET_ACCESS_KEY", default="")
LAKE_SECRET = env.str("LAKE_SECRET", default="")
LOAD_TRANSPORT = env.str("LOAD_TRANSPORT", default="engine")
LOAD_OVERLAP_MINUTES = env.int("LOAD_OVERLAP_MINUTES", default=120)
DATA_LATE_HOURS = env.int("DATA_LATE_HOURS", default=26)
LOAD_MAX_EXPANDED_MB = env.int("LOAD_MAX_EXPANDED_MB", default=51_200)
LOAD_SMALL_EXPANDED_MB = env.int("LOAD_SMALL_EXPANDED_MB", default=2048)
LOAD_MAX_RATIO = env.int("LOAD_MAX_RATIO", default=1000)
LOAD_MAX_HEADER_KB = env.int("LOAD_MAX_HEADER_KB", default=1024)
LOAD_MAX_FOOTER_MB = env.int("LOAD_MAX_FOOTER_MB", default=32)
LOAD_MAX_COLUMNS = env.int("LOAD_MAX_COLUMNS", default=1000)
LOAD_MAX_RECORD_MB = env.int("LOAD_MAX_RECORD_MB", default=16)
LOAD_MAX_VALUE_KB = env.int("LOAD_MAX_VALUE_KB", default=1024)
LOAD_WORKER_MEMORY_MB = env.int("LOAD_WORKER_MEMORY_MB", default=512)
LOAD_IN_MEMORY_MB = env.int("LOAD_IN_MEMORY_MB", default=128)
LOADS_AT_ONCE = env.int("LOADS_AT_ONCE", default=3)
LOADS_PER_TENANT = env.int("LOADS_PER_TENANT", default=2)
PIPELINE_MINUTES = env.int("PIPELINE_MINUTES", default=15)
PIPELINE_REFRESH_AT = env.str("PIPELINE_REFRESH_AT", default="")
LOAD_HEARTBEAT_TIMEOUT = env.int("LOAD_HEARTBEAT_TIMEOUT", default=120)

# --- Mail and alerts

SITE_URL = env.str("SITE_URL", default="http://127.0.0.1:8000")
REPORT_LINK_DAYS = env.int("REPORT_LINK_DAYS", default=90)
EMAIL_PROVIDER = env.str("EMAIL_PROVIDER", default="")
ANYMAIL = env.json("ANYMAIL", default={})
if EMAIL_PROVIDER:
    EMAIL_BACKEND = f"anymail.backends.{EMAIL_PROVIDER}.EmailBackend"
else:
    _mail_folder = f"filemail:///{_state_folder('mail')}"
    vars().update(env.email_url_config(env.str("EMAIL_URL", default="") or _mail_folder))
DEFAULT_FROM_EMAIL = SERVER_EMAIL = env.str("FROM_EMAIL", default="avesa@localhost")
EMAIL_SUBJECT_PREFIX = "[AVESA] "
EMAIL_TIMEOUT = 20
ALERT_WEBHOOK_URL = env.str("ALERT_WEBHOOK_URL", default="")
ALERT_SNS_TOPIC = env.str("ALERT_SNS_TOPIC", default="")
ADMINS = [(address, address) for address in env.list("ALERT_EMAILS", default=[])]

# --- AWS: Secrets Manager and SNS

AWS_REGION = env.str("AWS_REGION", default="us-east-1")
AWS_ENDPOINT_URL = env.str("AWS_ENDPOINT_URL", default="")

# --- Authentication

AUTH_USER_MODEL = "tenants.User"
AUTHENTICATION_BACKENDS = ["tenants.auth.TenantsBackend"]
_VALIDATORS: dict[str, dict[str, Any]] = {
    "UserAttributeSimilarityValidator": {},
    "MinimumLengthValidator": {"min_length": 10},
    "CommonPasswordValidator": {},
    "NumericPasswordValidator": {},
}
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}", "OPTIONS": options}
    for name, options in _VALIDATORS.items()
]
PASSWORD_HASHERS = ["tenants.accounts.passwords.BoundedHasher"]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "home"
LOGOUT_REDIRECT_URL = "account_login"
ACCOUNT_ADAPTER = "tenants.accounts.adapter.AccountAdapter"
ACCOUNT_FORMS = {
    "login": "tenants.accounts.forms.LoginForm",
    "reset_password": "tenants.accounts.forms.ResetPasswordForm",
    "reset_password_from_key": "tenants.accounts.forms.ResetPasswordKeyForm",
    "change_password": "tenants.accounts.forms.ChangePasswordForm",
    "set_password": "tenants.accounts.forms.SetPasswordForm",
}
ACCOUNT_LOGIN_METHODS = {"username", "email"}
ACCOUNT_SIGNUP_FIELDS = ["username*", "email*", "password1*"]
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_PRESERVE_USERNAME_CASING = True
ACCOUNT_SESSION_REMEMBER = True
ACCOUNT_PREVENT_ENUMERATION = "strict"
ACCOUNT_CHANGE_EMAIL = True
ACCOUNT_EMAIL_NOTIFICATIONS = True
ACCOUNT_LOGIN_ON_PASSWORD_RESET = True
ACCOUNT_REAUTHENTICATION_REQUIRED = True
ACCOUNT_REAUTHENTICATION_METHODS = ["password", "mfa"]
ACCOUNT_RATE_LIMITS = {
    "login": None,  # the adapter counts them as "password", with other checks of passwords
    "password": "60/m/ip",
    "login_failed": "20/m/ip,5/5m/key",
    "reset_password": "10/m/ip,3/10m/key",
}
MFA_ADAPTER = "tenants.accounts.second_factor.MfaAdapter"
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_PASSKEY_LOGIN_ENABLED = True
MFA_ALLOW_UNVERIFIED_EMAIL = True  # staff create accounts, not people themselves
MFA_RECOVERY_CODES_SHOW_ONCE = True
MFA_TOTP_TOLERANCE = 1
MFA_TOTP_ISSUER = "AVESA"
MFA_WEBAUTHN_ALLOW_INSECURE_ORIGIN = not HTTPS  # browsers allow it on localhost only
STAFF_SECOND_FACTOR = env.bool("STAFF_SECOND_FACTOR", default=True)
# Proxies in front of the web process; the client's address is the one that the first of them saw.
TRUSTED_PROXIES = int(env.str("TRUSTED_PROXIES", default="") or HTTPS)
ALLAUTH_TRUSTED_PROXY_COUNT = TRUSTED_PROXIES

# --- Limits of expensive requests

# kind: (at once, per minute) of one user, then of one tenant
_DEFAULT_LIMITS = {
    "figures": (4, 120, 12, 600),
    "listing": (4, 120, 12, 600),
    "export": (2, 20, 4, 60),
    "preview": (2, 30, 4, 60),
    "test": (2, 3, 4, 10),
    "api": (6, 300, 12, 1200),
}
REQUEST_KINDS = frozenset(_DEFAULT_LIMITS)
REQUEST_LIMITS: dict[str, Any] = _DEFAULT_LIMITS | env.json("REQUEST_LIMITS", default={})

# --- Cookies, TLS and response headers

SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_SSL_REDIRECT = HTTPS
SECURE_HSTS_SECONDS = 31_536_000 if HTTPS else 0
SECURE_REDIRECT_EXEMPT = [r"^health/"]  # probes come without TLS
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if HTTPS else None
X_FRAME_OPTIONS = "DENY"
CONTENT_SECURITY_POLICY = {
    "EXCLUDE_URL_PREFIXES": ["/admin/"],  # the admin's Alpine.js evaluates expressions
    "DIRECTIVES": {
        "default-src": [SELF],
        "img-src": [SELF, "data:"],
        "object-src": [NONE],
        "base-uri": [NONE],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
    },
}

# --- Language, time, static files

LANGUAGE_CODE = "en-us"
USE_I18N = False
USE_TZ = True
TIME_ZONE = "UTC"
FORMAT_MODULE_PATH = ["avesa_site.formats"]
STATIC_URL = "static/"
STATIC_ROOT = _state_folder("static")
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "downloads": {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {
            "location": _state_folder("downloads"),
            "file_permissions_mode": 0o600,
            "directory_permissions_mode": 0o700,
        },
    },
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedStaticFilesStorage"},
}
WHITENOISE_USE_FINDERS = True

# --- Admin


def _may_view_loads(request: Any) -> bool:
    return bool(request.user.has_perm("loaders.view_loadjob"))


UNFOLD = {
    "SITE_TITLE": "AVESA",
    "SITE_HEADER": "AVESA",
    "SITE_SUBHEADER": "Operations",
    "SITE_SYMBOL": "stacked_line_chart",
    "SITE_FAVICONS": [{"rel": "icon", "href": lambda request: static("avesa/favicon.svg")}],
    "SHOW_HISTORY": True,
    "STYLES": [lambda request: static("avesa/admin.css")],
    "DASHBOARD_CALLBACK": "avesa_site.admin_home.dashboard",
    "COLORS": {
        "primary": {
            "50": "rgb(239, 246, 255)",
            "100": "rgb(219, 234, 254)",
            "200": "rgb(191, 219, 254)",
            "300": "rgb(147, 197, 253)",
            "400": "rgb(96, 165, 250)",
            "500": "rgb(59, 130, 246)",
            "600": "rgb(36, 89, 201)",
            "700": "rgb(29, 78, 216)",
            "800": "rgb(30, 64, 175)",
            "900": "rgb(30, 58, 138)",
            "950": "rgb(23, 37, 84)",
        }
    },
    "SHOW_VIEW_ON_SITE": False,
    "SIDEBAR": {
        "navigation": [
            {
                "title": "Data",
                "items": [
                    {
                        "title": "Pipeline runs",
                        "icon": "conversion_path",
                        "link": reverse_lazy("admin:loaders_pipelinerun_changelist"),
                    },
                    {
                        "title": "Load jobs",
                        "icon": "cloud_sync",
                        "link": reverse_lazy("admin:loaders_loadjob_changelist"),
                    },
                    {
                        "title": "Files",
                        "icon": "draft",
                        "link": reverse_lazy("admin:loaders_loadedfile_changelist"),
                    },
                    {
                        "title": "Integrity",
                        "icon": "verified",
                        "link": reverse_lazy("admin:loaders_integritycheck_changelist"),
                    },
                    {
                        "title": "Alerts",
                        "icon": "notifications",
                        "link": reverse_lazy("admin:tenants_alert_changelist"),
                    },
                    {
                        "title": "Connections",
                        "icon": "stethoscope",
                        "link": reverse_lazy("doctor"),
                        "permission": _may_view_loads,
                    },
                    {
                        "title": "Query cache",
                        "icon": "cached",
                        "link": reverse_lazy("query_cache"),
                        "permission": _may_view_loads,
                    },
                ],
            },
            {
                "title": "Reports",
                "items": [
                    {
                        "title": "Reports",
                        "icon": "summarize",
                        "link": reverse_lazy("admin:reports_report_changelist"),
                    },
                    {
                        "title": "Occurrences",
                        "icon": "event",
                        "link": reverse_lazy("admin:reports_occurrence_changelist"),
                    },
                    {
                        "title": "Deliveries",
                        "icon": "outgoing_mail",
                        "link": reverse_lazy("admin:reports_delivery_changelist"),
                    },
                    {
                        "title": "Unsubscriptions",
                        "icon": "unsubscribe",
                        "link": reverse_lazy("admin:reports_unsubscription_changelist"),
                    },
                ],
            },
            {
                "title": "Customers",
                "items": [
                    {
                        "title": "Tenants",
                        "icon": "domain",
                        "link": reverse_lazy("admin:tenants_tenant_changelist"),
                    },
                    {
                        "title": "Memberships",
                        "icon": "badge",
                        "link": reverse_lazy("admin:tenants_membership_changelist"),
                    },
                    {
                        "title": "Users",
                        "icon": "person",
                        "link": reverse_lazy("admin:tenants_user_changelist"),
                    },
                    {
                        "title": "API tokens",
                        "icon": "key",
                        "link": reverse_lazy("admin:tenants_apitoken_changelist"),
                    },
                ],
            },
        ]
    },
}

# --- Logging

LOG_FORMAT = env.str("LOG_FORMAT", default="line")
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {
            "()": "common.logs.LineFormatter",
            "format": "%(asctime)s %(levelname)s %(name)s: %(message)s",
        },
        "json": {
            "()": "common.logs.JsonLineFormatter",
            "fmt": "%(asctime)s %(levelname)s %(name)s %(message)s",
            "rename_fields": {"asctime": "time", "levelname": "level", "name": "logger"},
        },
    },
    "handlers": {
        "console": {
            "class": "logging.StreamHandler",
            "formatter": "json" if LOG_FORMAT == "json" else "line",
        }
    },
    # It logs a traceback for each failed connection; our own errors are clearer.
    "loggers": {
        "waitress.queue": {"level": "ERROR"},  # one line for each request that waits
        "clickhouse_driver": {"level": "ERROR"},
        # Django would mail request errors to ADMINS with all settings, including passwords in URLs.
        "django": {"handlers": [], "level": "INFO"},
    },
    "root": {"handlers": ["console"], "level": env.str("LOG_LEVEL", default="INFO")},
}
