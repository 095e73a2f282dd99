"""What every test stands on: a busy machine is no failure."""
from hypothesis import HealthCheck, settings

settings.register_profile("appliance", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("appliance")
