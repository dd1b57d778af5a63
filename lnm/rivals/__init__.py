"""Other methods' temporal parts on the same frozen checkpoint, trained by the same loop: what ours has to beat.

Each is named after its source with "style" behind: what is compared is the way that time enters the U-Net, on one
checkpoint, one clip and one number of steps; not the weights, data or steps that made the original.
"""
