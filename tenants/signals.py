"""Signals between packages that do not import each other."""

from django.dispatch import Signal

# A tenant's pipeline has ended. Arguments: `tenant`, and the names of `tables` with new data.
data_arrived = Signal()
