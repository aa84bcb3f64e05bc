"""What is learned from: where the images come from, checks, cleaning, splits and augmentation.

`sources.load_dataset` is the way in; it returns the arrays described in `arrays`.
"""
