"""Published models with tiny random weights, of their true classes and in the layout that they are published in."""

import torch


def _text(folder, dim):
    from transformers import CLIPTextConfig, CLIPTextModel

    from lnm.demo.mini.text import train_tokenizer

    tokenizer = train_tokenizer(folder / "bpe", ["ocean waves at sunset", "clouds in a blue sky"])
    config = CLIPTextConfig(vocab_size=len(tokenizer), hidden_size=dim, intermediate_size=16, num_hidden_layers=1,
                            num_attention_heads=2, bos_token_id=tokenizer.bos_token_id,
                            eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id)
    return {"tokenizer": tokenizer, "text_encoder": CLIPTextModel(config)}


def _stable_diffusion(folder):
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel

    unet = UNet2DConditionModel(
        block_out_channels=(8, 8), layers_per_block=1, sample_size=16, in_channels=4, out_channels=4,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=8, norm_num_groups=2, attention_head_dim=2)
    vae = AutoencoderKL(block_out_channels=(8, 8), down_block_types=("DownEncoderBlock2D",) * 2,
                        up_block_types=("UpDecoderBlock2D",) * 2, latent_channels=4, norm_num_groups=2)
    StableDiffusionPipeline(
        vae=vae, unet=unet, scheduler=DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear"),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False, **_text(folder, 8),
    ).save_pretrained(folder / "checkpoint")


def _adapter(folder, **changes):
    from diffusers import MotionAdapter

    MotionAdapter(block_out_channels=(8, 8), motion_layers_per_block=1, motion_mid_block_layers_per_block=1,
                  motion_norm_num_groups=2, motion_num_attention_heads=2, **changes).save_pretrained(folder / "adapter")


def pia(folder):
    _stable_diffusion(folder)
    _adapter(folder, conv_in_channels=9)


def animatediff_sparsectrl(folder):
    from diffusers import SparseControlNetModel

    _stable_diffusion(folder)
    _adapter(folder)
    controlnet = SparseControlNetModel(
        block_out_channels=(8, 8), layers_per_block=1, in_channels=4, conditioning_channels=4,
        down_block_types=("CrossAttnDownBlockMotion", "DownBlockMotion"), cross_attention_dim=8, norm_num_groups=2,
        conditioning_embedding_out_channels=(8, 8), use_simplified_condition_embedding=True, attention_head_dim=2,
        motion_num_attention_heads=2)
    with torch.no_grad():  # what it adds starts at zero
        for p in controlnet.parameters():
            p.add_(0.1 * torch.randn_like(p))
    controlnet.save_pretrained(folder / "controlnet")


def svd(folder):
    from diffusers import (
        AutoencoderKLTemporalDecoder,
        EulerDiscreteScheduler,
        StableVideoDiffusionPipeline,
        UNetSpatioTemporalConditionModel,
    )
    from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModelWithProjection

    unet = UNetSpatioTemporalConditionModel(
        block_out_channels=(32, 64), layers_per_block=1, sample_size=16, in_channels=8, out_channels=4,
        down_block_types=("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
        up_block_types=("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"), cross_attention_dim=16,
        num_attention_heads=2, projection_class_embeddings_input_dim=96, addition_time_embed_dim=32)
    vae = AutoencoderKLTemporalDecoder(block_out_channels=(32, 64), down_block_types=("DownEncoderBlock2D",) * 2,
                                       latent_channels=4)
    looks = CLIPVisionConfig(hidden_size=16, projection_dim=16, num_hidden_layers=1, num_attention_heads=2,
                             image_size=224, intermediate_size=16, patch_size=56)
    scheduler = EulerDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", prediction_type="v_prediction",
        sigma_max=700.0, sigma_min=0.002, timestep_type="continuous", use_karras_sigmas=True)
    StableVideoDiffusionPipeline(
        vae=vae, unet=unet, image_encoder=CLIPVisionModelWithProjection(looks), scheduler=scheduler,
        feature_extractor=CLIPImageProcessor(crop_size=224, size=224)).save_pretrained(folder / "checkpoint")


def _cogvideox(folder, pipeline, **changes):
    from diffusers import AutoencoderKLCogVideoX, CogVideoXDDIMScheduler, CogVideoXTransformer3DModel
    from transformers import T5Config, T5EncoderModel, T5Tokenizer

    words = ["<pad>", "</s>", "<unk>", "▁", "▁ocean", "▁waves"]
    tokenizer = T5Tokenizer(vocab=[(word, -float(i)) for i, word in enumerate(words)], extra_ids=0)
    text = T5EncoderModel(T5Config(vocab_size=32, d_model=32, d_kv=8, d_ff=16, num_layers=1, num_heads=2))
    transformer = CogVideoXTransformer3DModel(**dict(
        num_attention_heads=2, attention_head_dim=16, in_channels=4, out_channels=4, time_embed_dim=2,
        text_embed_dim=32, num_layers=1, sample_width=4, sample_height=4, sample_frames=5, patch_size=2,
        temporal_compression_ratio=4, max_text_seq_length=226) | changes)
    vae = AutoencoderKLCogVideoX(
        down_block_types=("CogVideoXDownBlock3D",) * 4, up_block_types=("CogVideoXUpBlock3D",) * 4,
        block_out_channels=(8, 8, 8, 8), latent_channels=4, layers_per_block=1, norm_num_groups=2,
        temporal_compression_ratio=4)
    pipeline(tokenizer=tokenizer, text_encoder=text, vae=vae, transformer=transformer,
             scheduler=CogVideoXDDIMScheduler()).save_pretrained(folder / "checkpoint")


def cogvideox(folder):
    from diffusers import CogVideoXPipeline

    _cogvideox(folder, CogVideoXPipeline)


def cogvideox_i2v(folder):
    from diffusers import CogVideoXImageToVideoPipeline

    _cogvideox(folder, CogVideoXImageToVideoPipeline, in_channels=8, use_rotary_positional_embeddings=True,
               use_learned_positional_embeddings=True)


def write(name, folder):
    """The model `name` in `folder`: part -> its path."""
    torch.manual_seed(0)
    globals()[name](folder)
    return {part: str(folder / part) for part in ("checkpoint", "adapter", "controlnet") if (folder / part).is_dir()}
