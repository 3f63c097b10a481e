"""One script a figure, and the picture it last drew. `python -m figures` redraws them."""
