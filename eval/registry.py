"""What each number is: its unit, what a reader takes for good, and what it compares with."""

from __future__ import annotations

DETAIL_SIGMA = 1.0  # pixels; half of the residual's gain is reached at a period of 5.3 pixels
EQUAL_DB = 100.0  # what PSNR says of equal images, since infinity is no JSON number
WINDOW = 10  # frames of a clip that I3D sees at once
UNITS = {
    "motion_energy": "mean absolute change a step, 0 to 1",
    "motion_ratio": "x held-out",
    "flicker": "half the mean absolute second difference, 0 to 1",
    "flow_warp": "mean absolute change a step that flow leaves, 0 to 1",
    "flow_warp_gap": "distance of flow_warp to held-out's, 0 to 1",
    "flow_visible": "share of pixels not occluded, 0 to 1",
    "flow_speed": "pixels a step",
    "flow_speed_ratio": "x held-out",
    "flow_direction_gap": "degrees by which flow must turn to be held-out's, 0 to 180",
    "velocity_gap": "pixels a step by which tracked velocities (DIS) must move to be held-out's",
    "acceleration_gap": "the same of accelerations, pixels a step squared",
    "flow_warp_rife": "flow-warp error by RIFE, halfway between frames, 0 to 1",
    "flow_speed_rife": "pixels a step, by RIFE",
    "dynamic_degree": "VBench's dynamic degree, by DIS: 1 dynamic, 0 not",
    "dynamic_margin": "x the threshold of dynamic degree, by DIS",
    "smoothness_rife": "VBench's motion smoothness, by RIFE, 0 to 1",
    "subject_inception": "VBench's subject consistency, by Inception, 0 to 1",
    "background_clip": "VBench's background consistency, by this CLIP, 0 to 1",
    "spectrum_gap": "dB, log-spectral distance in time to held-out's",
    "detail": f"mean square past a Gaussian blur of {DETAIL_SIGMA:g} px, 0 to 1",
    "detail_kept": "x the VAE reconstruction's of held-out",
    "frame0_db": f"dB PSNR to the still ({EQUAL_DB:g}: equal)",
    "frame0_db_below_ceiling": "dB below the VAE's own PSNR",
    "frame0_ssim": "SSIM to the still, -1 to 1",
    "frame0_lpips": "LPIPS to the still, 0: equal",
    "colour_drift": "mean absolute change of mean colour, 0 to 1",
    "colour_slope": "steady change of mean colour a frame, 0 to 1",
    "nearest_rmse": "RMS difference to the nearest training frame, 0 to 1",
    "nearest_inception": "cosine distance to the nearest training frame, Inception's, 0 to 2",
    "nnf_distance": "mean square difference of 3x3x3 patches to their nearest in training (NNFDIST), 0 to 1",
    "nnf_diversity": "compressed size of the field of nearest patches over its raw size (NNFDIV)",
    "clipsim": "mean cosine, -1 to 1",
    "clipsim_mismatched": "mean cosine with prompts of something else, -1 to 1",
    "clipscore": '2.5 x max(cosine, 0), with "A photo depicts"',
    "rm": "clipsim, x held-out",
    "image_image": "mean cosine with natural images, -1 to 1",
    "fid_train": "FID to all training frames",
    "fid_heldout": "FID to all held-out frames",
    "kid_heldout": "KID to all held-out frames",
    "kid_subsets": "KID to held-out, mean over 100 random subsets",
    "kid_subsets_deviation": "its deviation over the subsets",
    "precision_inception": "share of frames within held-out's neighbourhoods, Inception's, 0 to 1",
    "recall_inception": "share of held-out frames within the film's neighbourhoods, Inception's, 0 to 1",
    "fvd_heldout": f"FVD of windows of {WINDOW} frames to all of held-out's",
}
# What a reader takes for good: "high", "low", a number to be near to, "real" (as the real clip's: nothing is better by
# definition), or None: no reading. A control that ranks above real frames is flagged against this reading.
DIRECTIONS = {
    "motion_energy": "real", "motion_ratio": 1.0, "flicker": "low", "flow_warp": "low", "flow_warp_gap": "low",
    "flow_visible": "high", "flow_speed": "real", "flow_speed_ratio": 1.0, "flow_direction_gap": "low",
    "velocity_gap": "low", "acceleration_gap": "low", "flow_warp_rife": "low", "flow_speed_rife": "real",
    "dynamic_degree": "real", "dynamic_margin": "real", "smoothness_rife": "high", "subject_inception": "high",
    "background_clip": "high", "nnf_distance": "real", "nnf_diversity": "real", "kid_subsets": "low",
    "kid_subsets_deviation": None, "precision_inception": "high", "recall_inception": "high",
    "spectrum_gap": "low", "detail": "real", "detail_kept": "high", "frame0_db": "high",
    "frame0_db_below_ceiling": "low", "frame0_ssim": "high", "frame0_lpips": "low", "colour_drift": "low",
    "colour_slope": "low", "nearest_rmse": "real", "nearest_inception": "real", "clipsim": "high",
    "clipsim_mismatched": None, "clipscore": "high", "rm": "high", "image_image": "high", "fid_train": "low",
    "fid_heldout": "low", "kid_heldout": "low", "fvd_heldout": "low",
}
# A metric that compares with the held-out frames says nothing of these themselves: there real means other real frames
TO_HELDOUT = ("motion_ratio", "flow_warp_gap", "flow_speed_ratio", "flow_direction_gap", "velocity_gap",
              "acceleration_gap", "spectrum_gap", "image_image", "fid_heldout", "kid_heldout", "kid_subsets",
              "kid_subsets_deviation", "precision_inception", "recall_inception", "fvd_heldout")
MISMATCHED = "mismatched_prompt"  # the control that is not a film: real frames scored with other prompts
IN_TIME = ("motion", "flow", "flicker", "spectrum", "velocity", "acceleration", "dynamic", "smoothness", "nnf",
           "fvd")  # how a metric's name starts that needs films of one fps
