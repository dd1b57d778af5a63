"""Every measure once: what it is called, its unit, what a reader takes for good, what it needs, where it comes from.

Labels, tables, reasons of refusals, `lnm score --list` and the table of docs/report.md are all made of `METRICS`.
"""

from __future__ import annotations

from dataclasses import dataclass

DETAIL_SIGMA = 1.0  # pixels; half of the residual's gain is reached at a period of 5.3 pixels
EQUAL_DB = 100.0  # what PSNR says of equal images, since infinity is no JSON number
WINDOW = 10  # frames of a clip that I3D sees at once
# What a measure may need beside the frames of a film -> what is said where it is not given or not there.
NEEDS = {
    "reference": "no real frames to compare with (--reference)",
    "train": "no training frames (--train)",
    "still": "no still to compare with (--still, or --reference)",
    "prompt": "no prompt was given (--prompt)",
    "other prompts": "no other prompt was given to compare with",
    "fps": "films of another frame rate cannot be compared in time (--fps)",
    "VAE": "the VAE is not known here (--vae-reference)",
    "CLIP": "no CLIP is set (checkpoint.clip is null)",
    "Inception": "no Inception weights under weights/: `lnm footage --inception` fetches them",
    "LPIPS": "no AlexNet weights under weights/, so no LPIPS: `lnm footage --networks` fetches them",
    "RIFE": "no RIFE weights under weights/, so no second optical flow: `lnm footage --networks` fetches them",
    "I3D": "no I3D weights under weights/, so no FVD: put i3d_torchscript.pt there",
}


@dataclass(frozen=True)
class Metric:
    """One measure. unit: what its value is and its range. good: what a reader takes for good: "high", "low", a number
    to be near to, "real" (as the real clip's: nothing is better by definition) or None, no reading; a control that
    ranks above real frames is flagged against it. about: what it measures, in a line. needs: keys of `NEEDS`.
    short: the unit at the head of a column, "" of a plain number and where the label says it. compares: with the
    held-out frames, so that of these it says nothing and real means other real frames. source: the paper or program
    that defines it, "" where it is this harness's own."""

    label: str
    unit: str
    good: str | float | None
    about: str
    needs: tuple[str, ...] = ()
    source: str = ""
    compares: bool = False
    short: str = ""


HELD = ("reference", "fps")
METRICS = {
    "motion_energy": Metric(
        "motion", "mean absolute change a step, 0 to 1", "real",
        "how much pixels change from frame to frame", ("fps",)),
    "motion_ratio": Metric(
        "motion, x real", "x held-out", 1.0, "that change as a multiple of the real clip's", HELD, compares=True),
    "flicker": Metric(
        "flicker", "half the mean absolute second difference, 0 to 1", "low",
        "change that the next frame takes back", ("fps",)),
    "flow_warp": Metric(
        "flow-warp error", "mean absolute change a step that flow leaves, 0 to 1", "low",
        "change that is left once optical flow (DIS) has carried the pixels along", ("fps",),
        "Lai et al. 2018, arXiv:1808.00449"),
    "flow_warp_gap": Metric(
        "flow-warp error, off real", "distance of flow-warp error to held-out's, 0 to 1", "low",
        "how far that error is from the real clip's", HELD, compares=True),
    "flow_visible": Metric(
        "visible to flow", "share of pixels not occluded, 0 to 1", "high",
        "pixels whose flow forth and back agrees", ("fps",), "Sundaram et al. 2010"),
    "flow_speed": Metric(
        "speed", "pixels a step", "real", "mean length of the optical flow (DIS)", ("fps",), "Kroeger et al. 2016",
        short="pixels a step"),
    "flow_speed_ratio": Metric(
        "speed, x real", "x held-out", 1.0, "that speed as a multiple of the real clip's", HELD, compares=True),
    "flow_direction_gap": Metric(
        "direction, off real", "degrees by which flow must turn to be held-out's, 0 to 180", "low",
        "earth mover's distance of the directions of flow", HELD, compares=True, short="degrees"),
    "velocity_gap": Metric(
        "velocity, off real", "pixels a step by which tracked velocities (DIS) must move to be held-out's", "low",
        "sliced earth mover's distance of the velocities of points tracked over three frames", HELD,
        "after FVMD, Liu et al. 2024, arXiv:2407.16124", compares=True, short="pixels a step"),
    "acceleration_gap": Metric(
        "acceleration, off real", "the same of accelerations, pixels a step squared", "low",
        "sliced earth mover's distance of these points' accelerations", HELD,
        "after FVMD, Liu et al. 2024, arXiv:2407.16124", compares=True, short="pixels a step squared"),
    "flow_warp_rife": Metric(
        "flow-warp error, RIFE", "flow-warp error by RIFE, halfway between frames, 0 to 1", "low",
        "what is left of change by a flow that has learnt motion", ("fps", "RIFE"),
        "after Lai et al. 2018, arXiv:1808.00449"),
    "flow_speed_rife": Metric(
        "speed, RIFE", "pixels a step, by RIFE", "real", "mean length of that flow", ("fps", "RIFE"),
        "Huang et al. 2022, arXiv:2011.06294", short="pixels a step"),
    "dynamic_degree": Metric(
        "dynamic degree, DIS", "VBench's dynamic degree, by DIS: 1 dynamic, 0 not", "real",
        "whether the fastest 5% of pixels move far enough in a quarter of the pairs of frames", ("fps",),
        "after VBench, Huang et al. 2024, arXiv:2311.17982"),
    "dynamic_margin": Metric(
        "dynamic degree, margin", "x the threshold of dynamic degree, by DIS", "real",
        "how far those pixels move as a multiple of what is far enough", ("fps",), ""),
    "smoothness_rife": Metric(
        "motion smoothness, RIFE", "VBench's motion smoothness, by RIFE, 0 to 1", "high",
        "how well every second frame is made anew from its neighbours", ("fps", "RIFE"),
        "after VBench, Huang et al. 2024, arXiv:2311.17982"),
    "subject_inception": Metric(
        "subject consistency, Inception", "VBench's subject consistency, by Inception, 0 to 1", "high",
        "likeness of each frame to the one before and the first, by Inception's features", ("Inception",),
        "after VBench, Huang et al. 2024, arXiv:2311.17982"),
    "background_clip": Metric(
        "background consistency, CLIP", "VBench's background consistency, by this CLIP, 0 to 1", "high",
        "likeness of each frame to the one before and the first, by CLIP's features", ("CLIP",),
        "after VBench, Huang et al. 2024, arXiv:2311.17982"),
    "still_subject_inception": Metric(
        "still's subject, Inception", "VBench-I2V's subject dimension, by Inception, 0 to 1", "high",
        "likeness of the likest frame to the still, and of each frame to the one before, by Inception's features",
        ("still", "Inception"), "after VBench++, Huang et al. 2024, arXiv:2411.13503"),
    "still_background_clip": Metric(
        "still's background, CLIP", "VBench-I2V's background dimension, by this CLIP, 0 to 1", "high",
        "likeness of the likest frame to the still, and of each frame to the one before, by CLIP's features",
        ("still", "CLIP"), "after VBench++, Huang et al. 2024, arXiv:2411.13503"),
    "spectrum_gap": Metric(
        "spectrum, off real", "dB, log-spectral distance in time to held-out's", "low",
        "whether slow and fast changes are as strong as in the real clip", HELD, compares=True, short="dB"),
    "detail": Metric(
        "detail", f"mean square past a Gaussian blur of {DETAIL_SIGMA:g} px, 0 to 1", "real",
        "fine detail of the frames"),
    "detail_ratio": Metric(
        "detail, x real", "x held-out", 1.0, "that detail as a multiple of the real clip's", ("reference",),
        compares=True),
    "detail_kept": Metric(
        "detail kept", "x the VAE reconstruction's of held-out", "high",
        "that detail as a multiple of what the autoencoder can hold of the real clip", ("reference", "VAE")),
    "frame0_db": Metric(
        "first frame, PSNR", f"dB PSNR to the still ({EQUAL_DB:g}: equal)", "high",
        "how near the first frame is to the still", ("still",)),
    "frame0_db_below_ceiling": Metric(
        "first frame below the VAE", "dB below the VAE's own PSNR", "low",
        "by how much the autoencoder alone is nearer to the still", ("still", "VAE"), short="dB"),
    "frame0_ssim": Metric(
        "first frame, SSIM", "SSIM to the still, -1 to 1", "high", "structural similarity of first frame and still",
        ("still",), "Wang et al. 2004"),
    "frame0_lpips": Metric(
        "first frame, LPIPS", "LPIPS to the still, 0: equal", "low", "distance of first frame and still by AlexNet",
        ("still", "LPIPS"), "Zhang et al. 2018, arXiv:1801.03924"),
    "colour_drift": Metric(
        "colour drift", "mean absolute change of mean colour, 0 to 1", "low",
        "how the mean colour leaves the first frame's"),
    "colour_slope": Metric(
        "colour slope", "steady change of mean colour a frame, 0 to 1", "low", "how steadily the mean colour fades"),
    "nearest_rmse": Metric(
        "nearest training frame", "RMS difference to the nearest training frame, 0 to 1", "real",
        "copying, by pixels", ("train",)),
    "nearest_inception": Metric(
        "nearest training frame, Inception",
        "cosine distance to the nearest training frame, Inception's, 0 to 2", "real",
        "copying, by Inception's features", ("train", "Inception")),
    "nnf_distance": Metric(
        "NNFDIST", "mean square difference of 3x3x3 patches to their nearest in training (NNFDIST), 0 to 1", "real",
        "how near the pieces of the film are to pieces of the training clip", ("train", "fps"),
        "SinFusion, Nikankin et al. 2023, arXiv:2211.11743"),
    "nnf_diversity": Metric(
        "NNFDIV", "compressed size of the field of nearest patches over its raw size (NNFDIV)", "real",
        "how far that field is from a plain shift: low is copying in bulk", ("train", "fps"),
        "SinFusion, Nikankin et al. 2023, arXiv:2211.11743"),
    "clipsim": Metric(
        "CLIPSIM", "mean cosine, -1 to 1", "high", "likeness of frames and prompt by CLIP", ("prompt", "CLIP"),
        "Wu et al. 2021, arXiv:2104.14806"),
    "clipsim_mismatched": Metric(
        "CLIPSIM, other prompts", "mean cosine with prompts of something else, -1 to 1", None,
        "the same with prompts of something else: its control", ("prompt", "other prompts", "CLIP")),
    "clipscore": Metric(
        "CLIPScore", '2.5 x max(cosine, 0), with "A photo depicts"', "high", "likeness of frames and prompt, rescaled",
        ("prompt", "CLIP"), "Hessel et al. 2021, arXiv:2104.08718"),
    "rm": Metric(
        "relative matching", "CLIPSIM, x held-out", "high", "CLIPSIM as a multiple of the real clip's",
        ("reference", "prompt", "CLIP"), "Wu et al. 2021, arXiv:2104.14806"),
    "image_image": Metric(
        "image to image", "mean cosine with natural images, -1 to 1", "high",
        "likeness by CLIP of frames and natural images", ("reference", "CLIP"), compares=True),
    "fid_train": Metric(
        "FID, training", "FID to all training frames", "low",
        "distance of Inception features to the training frames'",
        ("train", "Inception"), "Heusel et al. 2017, arXiv:1706.08500"),
    "fid_heldout": Metric(
        "FID, real", "FID to all held-out frames", "low", "the same to the held-out frames'",
        ("reference", "Inception"), "Heusel et al. 2017, arXiv:1706.08500", compares=True),
    "kid_heldout": Metric(
        "KID, real", "KID to all held-out frames", "low", "the same without FID's bias of few samples",
        ("reference", "Inception"), "Binkowski et al. 2018, arXiv:1801.01401", compares=True),
    "kid_subsets": Metric(
        "KID by subsets", "KID to held-out, mean over 100 random subsets", "low", "KID as papers print it",
        ("reference", "Inception"), "Binkowski et al. 2018, arXiv:1801.01401", compares=True),
    "kid_subsets_deviation": Metric(
        "KID by subsets, deviation", "its deviation over the subsets", None,
        "how far the subsets differ: no error, they share frames", ("reference", "Inception"),
        "Binkowski et al. 2018, arXiv:1801.01401", compares=True),
    "precision_inception": Metric(
        "precision, Inception", "share of frames within held-out's neighbourhoods, Inception's, 0 to 1", "high",
        "whether frames lie where real ones do", ("reference", "Inception"),
        "Kynkäänniemi et al. 2019, arXiv:1904.06991", compares=True),
    "recall_inception": Metric(
        "recall, Inception", "share of held-out frames within the film's neighbourhoods, Inception's, 0 to 1", "high",
        "whether real frames lie where the film's do", ("reference", "Inception"),
        "Kynkäänniemi et al. 2019, arXiv:1904.06991", compares=True),
    "fvd_heldout": Metric(
        "FVD, real", f"FVD of windows of {WINDOW} frames to all of held-out's", "low",
        "distance of I3D features of windows", (*HELD, "I3D"), "Unterthiner et al. 2018, arXiv:1812.01717",
        compares=True),
}
UNITS = {name: metric.unit for name, metric in METRICS.items()}
DIRECTIONS = {name: metric.good for name, metric in METRICS.items()}
TO_HELDOUT = tuple(name for name, metric in METRICS.items() if metric.compares)
IN_TIME = tuple(name for name, metric in METRICS.items() if "fps" in metric.needs)  # not of films of another fps
MISMATCHED = "mismatched_prompt"  # the control that is not a film: real frames scored with other prompts


def reading(good: str | float | None) -> str:
    """In words what a reader takes for good: an entry of `DIRECTIONS`."""
    words = {"high": "more", "low": "less", "real": "as the real clip", None: "no reading"}
    return f"near {good:g}" if isinstance(good, float) else words[good]


def heading(metric: str) -> str:
    """A measure at the head of a column or a panel: what it is called, and its unit where it is no plain number."""
    return ", ".join(filter(None, (METRICS[metric].label, METRICS[metric].short)))


def quoted(metric: str) -> str:
    """A measure in a sentence: what it is called, in quotation marks, since a name may hold a comma."""
    return f"“{METRICS[metric].label}”"


def directed(metric: str) -> str:
    """`heading`, with an arrow down where less of a difference is better and up where more is."""
    return heading(metric) + {"low": " ↓", "high": " ↑"}.get(DIRECTIONS[metric], "")


def listing() -> list[list[str]]:
    """[name, label, unit, good, needs, about, source] of every measure, as tables of all of them show it."""
    return [[name, metric.label, metric.unit, reading(metric.good), ", ".join(metric.needs) or "frames alone",
             metric.about, metric.source or "own"] for name, metric in METRICS.items()]
