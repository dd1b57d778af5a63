"""Trains `lnm-mini`, the built-in checkpoint, and `lnm-mini-clip`, from rendered scenes and open photographs.

Stable Diffusion's layout and classes (CLIPTextModel, UNet2DConditionModel with 2C+1 input channels; for the autoencoder
AutoencoderDC, see lnm/demo/mini/autoencoder.py), about a hundred times smaller. `lnm checkpoint train` runs this;
every part resumes where it was interrupted.
"""
