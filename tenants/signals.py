"""What one part tells others that it does not know."""

from django.dispatch import Signal

# A tenant's pipeline has ended: `tenant`, and the names of the `tables` that have new data.
data_arrived = Signal()
