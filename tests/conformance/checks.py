"""The checks that claims.yaml names: each gives what it found, and what else it measured."""

from __future__ import annotations

from conformance import network, training

from eval.claims.finding import Finding


def layers() -> Finding:
    """Of Stable Diffusion's own U-Net: convolutions and blocks that get a temporal layer, for each conv_placement."""
    counted = {placement: network.layers(placement) for placement in ("all", "all_but_projections", "3x3")}
    return Finding(counted["all"]["convs_1d"], numbers=counted)


def attention_share() -> Finding:
    counted = network.layers()
    return Finding(counted["blocks_1d"] / counted["blocks"], f"{counted['blocks_1d']} of {counted['blocks']} blocks",
                   reason=f"on Stable Diffusion's U-Net: {counted['trained'] / 1e6:.0f} million numbers train, "
                   f"{counted['frozen'] / 1e6:.0f} million are frozen")


def untrained_motion() -> Finding:
    """How much of one frame's change reaches another before a fine-tune, and with other weights."""
    seen, after = network.effect("last frame", awake=False), network.effect("last frame")
    return Finding(seen, f"{seen:g} before a fine-tune, {after:.2g} with other weights",
                   numbers={"before": seen, "after": after})


def conditioned() -> Finding:
    stock = network.blanked_still()
    return Finding(training.condition_error(), reason="the paper does not say how: a stock inpainting pipeline blanks "
                   f"what is masked and leaves {stock:g} of the still; here its latents stand beside the mask")


def all_frames() -> Finding:
    asked = [1, 2, 5, 16, 24, 60]
    given = network.frames_given(tuple(asked))
    return Finding(given == asked, f"{', '.join(map(str, given))} frames")


def fps_learnt() -> Finding:
    """Whether the number is learnt; a network that is not told it must fail, else nothing was shown."""
    told, blind = network.fps_error(), network.fps_error(blind=True)
    return Finding(told < 0.5 and blind > 0.99,
                   f"{told:.2g} of a blind network's least error; not told the number, {blind:.2g}",
                   numbers={"told": told, "blind": blind})


def x0_estimate() -> Finding:
    found = {"DDIM": training.x0_error("ddim"), "DPM-Solver++": training.x0_error("dpm++")}
    return Finding(max(found.values()), ", ".join(f"{error:.0e} by {name}" for name, error in found.items()))


def frozen() -> Finding:
    """Spatial tensors that two training steps changed; None where temporal ones did not change either."""
    steps = training.train_two_steps()
    return Finding(steps["spatial_changed"] if steps["temporal_changed"] else None,
                   f"{steps['spatial_changed']} of {steps['spatial']} spatial and {steps['temporal_changed']} of "
                   f"{steps['temporal']} temporal tensors changed")


def lion_memory() -> Finding:
    kept = {name: training.optimizer_bytes(name) for name in ("lion", "adamw")}
    lion, adamw = kept["lion"], kept["adamw"]
    trained = network.layers()["trained"]
    gigabytes = [trained * one["state"] / one["parameters"] / 1e9 for one in (lion, adamw)]
    return Finding(lion["state"] < adamw["state"], f"{lion['state'] / adamw['state']:.2f} of AdamW's",
                   reason="on Stable Diffusion's U-Net " + " against ".join(f"{size:.2f} GB" for size in gigabytes)
                   + "; “more performant” is not measured here",
                   numbers={name: one["state"] / one["parameters"] for name, one in kept.items()})


def lion_uniform() -> Finding:
    spread = {f"{name}, decay {decay:g}": training.update_spread(name, decay)
              for name in ("lion", "adamw") for decay in (0.0, 0.01)}
    return Finding(spread["lion, decay 0"], reason="without weight decay, of which the paper says nothing; at 0.01 it "
                   f"is {spread['lion, decay 0.01']:.2f}, AdamW's is {spread['adamw, decay 0']:.0f}", numbers=spread)


def smoother() -> Finding:
    rough = training.mse_smoothness()
    return Finding(rough["mse"] < min(rough["l1"], rough["edge"]),
                   f"roughness {rough['mse']:.3f}, absolute error {rough['l1']:.2f}, data {rough['edge']:g}",
                   reason="of a signal predicted outright; here the loss is on the noise at each step, and a film is "
                   "drawn, not averaged", numbers=rough)


def memory_grows() -> Finding:
    kept = {frames: training.activation_bytes(frames) for frames in (4, 8, 16)}
    text = ", ".join(f"{size / kept[4]:.2f}x at {frames}" for frames, size in kept.items())
    return Finding(kept[4] < kept[8] < kept[16], f"{text} frames", reason="in proportion to the frames")


def value(function) -> Finding:
    """A check that is one number or list."""
    return Finding(function())


CHECKS = {
    "layers": layers, "attention_share": attention_share, "untrained_motion": untrained_motion,
    "conditioned": conditioned, "all_frames": all_frames, "fps_learnt": fps_learnt, "frozen": frozen,
    "lion_memory": lion_memory, "lion_uniform": lion_uniform, "smoother": smoother, "memory_grows": memory_grows,
    "words_reach": lambda: value(network.words_error), "eq1": lambda: value(training.eq1_error),
    "x0_estimate": x0_estimate, "identity_start": lambda: value(network.identity_start),
    "conv_start": lambda: value(network.conv_start), "attention_start": lambda: value(network.attention_start),
    "pseudo3d_cost": lambda: value(network.pseudo3d_cost), "eq3": lambda: value(network.eq3_error),
    "eq4": lambda: value(network.eq4_error), "parents_weights": lambda: value(network.parents_weights_changed),
    "projection_kernel": lambda: value(network.projection_kernel),
}
