"""A tiny 2D inpainting U-Net, inputs for it and for its inflated form, temporal layers that do something, a LoRA."""

import torch

B, C, F, H, D = 2, 4, 5, 16, 16  # clips, latent channels, frames, height and width, width of the text embedding


def tiny_unet2d(seed=0, **changes):
    from diffusers import UNet2DConditionModel

    torch.manual_seed(seed)
    config = dict(
        sample_size=H, in_channels=2 * C + 1, out_channels=C, layers_per_block=1, block_out_channels=(16, 32),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=D, attention_head_dim=2, norm_num_groups=8)
    return UNet2DConditionModel(**{**config, **changes}).eval()


def inputs(batch=1, frames=F):
    g = torch.Generator().manual_seed(1)
    return (torch.randn(batch, 2 * C + 1, frames, H, H, generator=g), torch.tensor([7, 500][:batch]),
            torch.randn(batch, 3, D, generator=g))


@torch.no_grad()
def wake(unet, seed=0):
    """Temporal layers that do something."""
    g = torch.Generator().manual_seed(seed)
    for p in unet.temporal_parameters().values():
        p += 0.05 * torch.randn(p.shape, generator=g)
    return unet


def write_lora(folder, unet, seed=0, targets=("conv1", "conv2", "to_q", "to_out.0", "proj_in", "conv_in")):
    """A LoRA of rank 2 of a 2D U-Net, as diffusers' training scripts write it; `unet` carries it afterwards."""
    from diffusers import StableDiffusionInpaintPipeline
    from peft import LoraConfig
    from peft.utils import get_peft_model_state_dict

    unet.add_adapter(LoraConfig(r=2, lora_alpha=2, target_modules=list(targets)))
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in unet.named_parameters():
            if "lora_" in name:
                p.copy_(0.3 * torch.randn(p.shape, generator=g))
    StableDiffusionInpaintPipeline.save_lora_weights(folder, unet_lora_layers=get_peft_model_state_dict(unet))
    return folder
