"""What holds for all tests: no clock decides one, so Hypothesis may take its time too."""

from contextlib import suppress

with suppress(ModuleNotFoundError):  # not every environment has it, nor every test
    from hypothesis import HealthCheck, settings

    slow = [HealthCheck.too_slow]
    settings.register_profile("patient", deadline=None, suppress_health_check=slow)
    settings.load_profile("patient")
