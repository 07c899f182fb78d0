from django.apps import AppConfig


class AvesaSiteConfig(AppConfig):
    name = "avesa_site"
    verbose_name = "AVESA"

    def ready(self) -> None:
        from avesa_site import checks  # noqa: F401 (importing registers them)
