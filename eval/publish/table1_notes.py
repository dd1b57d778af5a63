"""What has to be known to read Table 1, 1b and 1c."""

from __future__ import annotations

from eval.publish.formats import counted
from eval.publish.nearest import detailed
from eval.records.video import LABELS
from eval.registry import METRICS, MISMATCHED, heading
from eval.statistics.permutation import LEVEL, least_p, pairs_needed
from eval.statistics.small import FEWEST

NO_VOTES = "no responses yet"
DAGGER = "†"
ALIKE = "real against real, consecutive"


def notes(tables: dict[str, dict], comparisons: int, pairs: int) -> list[str]:
    """One sentence or a few each. comparisons: the tests of Table 1c; pairs: of how many pairs the largest is."""
    first = next(iter(tables.values()))
    videos = ", ".join(tables)
    said = [
        "Rows marked published are copied from the paper. The others are this run's "
        f"({first['backend']['checkpoint']}; mean over {len(tables)} videos: {videos}): a demonstration of the method, "
        "not a reproduction of the paper.",
        f"'{NO_VOTES}': nobody has been asked about these films; results/human_study/study.html asks. A share names "
        "its opponent: the paper's is CogVideo. [ ] is 95%, votes of one observer, or one video, counted as alike.",
        "Resolution is of a method's films as they were made; to be scored they are brought to ours.",
        "The published CLIPSIM values can only be 2.5 x cosine (CLIPScore): as a mean cosine 0.75 is out of CLIP's "
        "reach, real videos score near 0.24 to 0.30. So read them beside CLIPScore, which puts 'A photo depicts' "
        "before the prompt.",
        *_clip(tables), *_inception(tables),
        "Motion and flow-warp error are good when near the real clip's, not when low: a frozen film has none of either."
        f" Part of that motion no latent holds: '{LABELS['heldout_vae']}' is what the autoencoder leaves of it."
        f" Detail kept is 1 for the VAE's reconstruction of the real clip; noise counts as detail. {_detailed(tables)}"
        f"{heading('frame0_db')}: {METRICS['frame0_db'].unit}; the VAE itself reaches "
        f"{', '.join(map(_ceiling, tables, tables.values()))}.",
        "( ) is the least and the largest of the films (in a mean: videos), where what is counted, "
        f"{first['interval']['unit']}s (in a mean: videos), are fewer than {FEWEST}: so few carry no interval. [ ] is "
        f"Student's 95% interval, from {FEWEST} on. Of each video ours are {_ours(tables)}. All films of a video share "
        f"{first['interval']['not_covered']}, and nothing here says how far another would differ. "
        + "".join(f"Of {video} {table['interval']['crossed']}. " for video, table in tables.items()
                  if "crossed" in table["interval"]) + "'-' is a refusal, "
        "with its reason in metrics.json, or a method without films for every video.",
    ]
    said += _trained(tables)
    if any(table["flags"] for table in tables.values()):
        said.append(f"{DAGGER}: this metric, read as is usual, ranks this control above real held-out frames, in at "
                    "least one video; it alone does not tell a good film. The flags of metrics.json list every case.")
    said.append(_differences(comparisons, pairs))
    return said + [f"{video}: {t['backend']['clip']['note']}." for video, t in tables.items()
                   if "note" in t["backend"]["clip"]]


def _trained(tables: dict[str, dict]) -> list[str]:
    """How the methods were trained that are called after another's style; nothing where there are none."""
    found = {(method, one["steps"], one["learning_rate"]) for table in tables.values()
             for method, one in table["backend"].get("trained", {}).items()}
    if not found:
        return []
    each = ", ".join(f"{LABELS.get(method, method)} {steps} steps at a rate of {rate:.2g}"
                     for method, steps, rate in sorted(found))
    return ["What is called -style is the temporal part of another method on this checkpoint, trained on the same "
            f"latents by the same loop: {each}. None is the published model, and none begins from layers of many "
            f"clips, as ours may: beside them stands '{LABELS['identity']}'."]


def _detailed(tables: dict[str, dict]) -> str:
    """That films of ours hold more than latents do, where they do."""
    if not detailed(tables.values()):
        return ""
    return (f"'{LABELS['ours']}' are given back what the autoencoder takes from the carried still that they begin "
            "from; beside the clip through the autoencoder they stand as they were decoded. ")


def _ours(tables: dict[str, dict]) -> str:
    """`4 films, 2 fine-tunes`, of every number that occurs among the videos."""
    found = []
    for table in tables.values():
        entries = [entry for entry in table["methods"]["ours"].values() if "n" in entry]
        if entries:
            found.append(counted(max(entries, key=lambda entry: entry["n"]), table["interval"]["unit"]))
    return " or ".join(dict.fromkeys(found)) or "no films"


def _ceiling(video: str, table: dict) -> str:
    db, several = table["reference"]["ceiling_db"], table["reference"].get("stills", {}).get("ceiling_db", [])
    if len(several) > 1 and None not in several:
        return f"{' and '.join(f'{one:.1f}' for one in several)} dB ({video}, still by still)"
    return f"an unknown number of dB ({video}: its still is no frame of the clip)" if db is None else (
        f"{db:.1f} dB ({video})")


def _clip(tables: dict[str, dict]) -> list[str]:
    """Which CLIP scored, which one chose the prompts, and what the mismatched ones are."""
    clip = next(iter(tables.values()))["backend"]["clip"]
    if "refused" in clip:
        return [f"CLIPSIM refused: {clip['refused']}."]
    mini = "lnm-mini-clip" in clip["name"]
    said = [f"CLIPSIM here is by {clip['name']} (weights {clip['sha256'][:12]}); cosines of different CLIP models do "
            "not compare" + (", and lnm-mini-clip's with no published value." if mini else ".")]
    chosen = {(entry["chosen_by"], entry["circular"]) for table in tables.values()
              if "chosen_by" in (entry := table["backend"]["clip"])}
    said += [f"The prompt was chosen by {name}, as the nearest to the same clip's training frames"
             + (": the very CLIP that scores here, so CLIPSIM of films like the clip is high by that choice already."
                if circular else ", another CLIP than the one that scores here.") for name, circular in sorted(chosen)]
    if any("value" in table["methods"]["heldout"]["clipsim_mismatched"] for table in tables.values()):
        said.append(f"'{LABELS[MISMATCHED]}' is the held-out frames scored with the other videos' prompts, but for "
                    "those that stood for choice in the video itself; CLIPSIM has to tell them from its own.")
    return said


def _inception(tables: dict[str, dict]) -> list[str]:
    """Of how many frames the distances are, and what real frames score."""
    backends = {video: table["backend"]["inception"] for video, table in tables.items()}
    refused = {video: backend["refused"] for video, backend in backends.items() if "refused" in backend}
    if len(refused) == len(backends):
        return [f"FID refused: {'; '.join(dict.fromkeys(refused.values()))}."]
    inception = next(backend for backend in backends.values() if "refused" not in backend)
    sizes = "; ".join(f"{video} {floors['train']['n']} against {floors['train']['n_reference']}"
                      for video, table in tables.items() if "refused" not in (floors := table["reference"]["fid"]))
    return [f"FID is by {inception['name']}, the first frames of every film, equally many, against all training frames "
            f"({sizes}); the paper's is 5 frames against 1060. So few frames never score near 0: '{ALIKE}' is what "
            "windows of as many consecutive real frames score against others of the clip, and ( ) their range. KID "
            "takes frames for independent; those of one film are not, so it too is read beside such windows "
            "(reference.fid in metrics.json).", *(f"FID refused of {video}: {why}." for video, why in refused.items())]


def _differences(comparisons: int, pairs: int) -> str:
    """How Table 1c is read, and what its tests can and cannot say at this number of pairs."""
    said = ("Table 1c pairs film k of ours with film k of a method that starts from the same noise and still, of which "
            "there may be fewer, and what has one film a still with each of ours from that still; in a mean, videos. "
            "↓: negative is better for ours, ↑: positive is. ")
    needed = pairs_needed(comparisons)
    if pairs < needed:
        return said + (f"No p is printed: a sign-flip test of {pairs} pairs has none below {least_p(pairs):.2g}, and "
                       f"{comparisons} of them together (Holm) need {needed} pairs. table1c.csv has all.")
    return said + (f"p: sign-flip permutation test of whether ours are nearer to what is good, by Holm for all "
                   f"{comparisons} cells, where it is at most {LEVEL:g}. table1c.csv has all.")


def beside(compared: list[str], clip: list[str]) -> str:
    """Beside which real frames Table 1c stands. compared: its metrics that compare with real frames; clip: those of
    them that were not taken beside the frames through the autoencoder."""
    labels = {metric: METRICS[metric].label for metric in compared}
    ceiling = [label for metric, label in labels.items() if metric not in clip]
    said = (f"In Table 1c what compares with real frames ({'; '.join(ceiling)}) does so through the autoencoder, the "
            "ceiling of a latent method, and what is made of the clip's own frames is made of these through it; "
            f"'{LABELS['heldout']}' there is the clip without it. ") if ceiling else ""
    lacking = [labels[metric] for metric in clip]
    return (said + (f"Beside the clip itself: {'; '.join(lacking)}, for want of it. " if lacking else "")
            + "Table 1b is beside the clip itself.")
