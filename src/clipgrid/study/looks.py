"""What is looked at, and when: it decides what a run costs and what its cells hold."""

SMALLEST_IMAGE = 8  # px, of every model here
CURVE_IMAGES = 512  # training and validation images, of each, looked at during the run
TRANSFORMED_IMAGES = 2000  # test images looked at shifted, turned, ...
TRANSFORMATIONS = ("mirrored", "shifted", "enlarged", "tilted", "rotated")  # of test images
RESIDENT_BYTES = 8e9  # of a set of images that is kept on the device as a whole


def evaluation_batch(size: int) -> int:
    """Images of side `size` px that are looked at at once: fewer of large ones, for the memory."""
    return max(32, min(1024, 2**20 // size**2))
