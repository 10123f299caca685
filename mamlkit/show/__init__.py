"""Pictures, still and with sliders."""
