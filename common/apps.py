from django.apps import AppConfig

from common.logs import redact_server_logs


class CommonConfig(AppConfig):
    name = "common"

    def ready(self) -> None:
        redact_server_logs()
