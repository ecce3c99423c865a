"""The demo: a cloud side in processes of its own, a device side in this one, and a view from between."""
