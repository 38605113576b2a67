"""The demo: the trained network on a generated engine, image by image, equal to the golden model or not."""
