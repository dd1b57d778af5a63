"""What `lnm check` forecasts against what is then measured, on lnm-mini at the default's size.

    python -m benchmarks.forecast [--steps 8] [--rounds 3] [--json FILE]

A fine-tune of a few steps on latents of noise and a film are run as the pipeline runs them, each in a process of its
own. Memory is the highest mark above what the program held, with all its imports, before the checkpoint was opened;
times are the process's own, so that other programs do not count. Exits 1 unless each forecast lies within 20% of what
was measured.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable

from benchmarks.options import parsed
from benchmarks.speed import machine
from lnm.files import write_json

BOUND = 0.2
SIZE = (128, 128)


def fine_tune(steps: int) -> dict[str, float]:
    """Seconds of a step, MB at most, the checkpoint's opening included."""
    import numpy as np
    import torch

    from lnm.hub import locate_temporal
    from lnm.meter import Peak
    from lnm.model import InflatedModel
    from lnm.runs import make_accelerator
    from lnm.settings import finetune_of
    from lnm.training import train

    settings = finetune_of("lnm-mini")
    latents = torch.randn(60, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    pictures = np.random.default_rng(0).integers(0, 256, (60, 128, 128, 3), dtype=np.uint8)
    InflatedModel.from_pretrained("lnm-mini")  # what is imported on the way is the program's own
    with Peak(torch.device("cpu")) as peak:
        pipe = InflatedModel.from_pretrained("lnm-mini", temporal=locate_temporal("lnm-mini-motion"))
        for count in (1, steps):
            start = time.process_time()
            train(pipe, latents, "waves", 8.0, settings.model_copy(update={"steps": count}),
                  make_accelerator(settings, "cpu"), pictures=pictures)
    return {"a training step, s": (time.process_time() - start) / steps, "a fine-tune, MB": (peak.bytes or 0) / 1e6}


def film(_: int) -> dict[str, float]:
    """Seconds of a film as ours are made, MB at most, the checkpoint's opening included. What it is begun from is
    black: of the still carried along by the flow the encoding is timed, not OpenCV's part."""
    import numpy as np
    import torch

    from lnm.devices import sampling_dtypes
    from lnm.hub import locate_decoder, locate_temporal
    from lnm.latents import encode
    from lnm.meter import Peak
    from lnm.pipeline import LateNtMoviesPipeline
    from lnm.schedulers import make_scheduler
    from lnm.settings import sample_of

    sample = sample_of("lnm-mini")
    still = torch.randn(1, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    carried = np.zeros((sample.num_frames, *SIZE, 3), np.uint8)
    LateNtMoviesPipeline.from_pretrained("lnm-mini")  # what is imported on the way is the program's own
    with Peak(torch.device("cpu")) as peak:
        pipe = LateNtMoviesPipeline.from_pretrained("lnm-mini", temporal=locate_temporal("lnm-mini-motion"),
                                                    **sampling_dtypes(sample.dtype, "cpu"))
        pipe.set_progress_bar_config(disable=True)
        if decoder := sample.decoder():
            pipe.load_temporal_decoder(locate_decoder(decoder))
        pipe.scheduler = make_scheduler(pipe.scheduler, kind=sample.scheduler)
        for _ in range(2):  # the second is timed
            start = time.process_time()
            begun = encode(pipe.vae, carried).movedim(0, 1)[None] if sample.begin == "flow" else None
            pipe(image_latents=still, prompt="waves", fps=8, video_latents=begun, **sample.film(begun is not None))
    return {"a film, s": time.process_time() - start, "a film, MB": (peak.bytes or 0) / 1e6}


def forecast(_: int) -> dict[str, float]:
    """The same by the forecast, whose clock is the process's here."""
    from lnm import forecast as forecasting
    from lnm.settings import finetune_of, sample_of

    fixed = finetune_of("lnm-mini").model_copy(update={"steps": 1})
    forecasting.time.perf_counter = time.process_time
    taken = forecasting.Forecast("lnm-mini", None, "cpu", SIZE, fixed, sample_of("lnm-mini")).take()
    return {"a training step, s": taken.finetune_seconds, "a film, s": taken.film_seconds,
            "a fine-tune, MB": (taken.finetune_bytes or 0) / 1e6, "a film, MB": (taken.film_bytes or 0) / 1e6}


def alone(function: Callable[[int], dict[str, float]], steps: int) -> dict[str, float]:
    """What a function gives in a process of its own, forked off this one, which has imported all that it needs."""
    with multiprocessing.get_context("fork").Pool(1) as process:
        return process.apply(function, (steps,))


def markdown(rows: list[dict]) -> str:
    """The table of docs/speed.md."""
    cells = [["what", "forecast", "measured", "ratio"], ["---", "--:", "--:", "--:"]]
    cells += [[row["what"], f"{row['forecast']:.3g}", f"{row['measured']:.3g}", f"{row['ratio']:.2f}"] for row in rows]
    return "\n".join("| " + " | ".join(row) + " |" for row in cells)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.forecast", description=__doc__.split("\n\n")[0])
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3, help="of both in turn; medians are compared")
    args = parsed(parser, argv)
    import lnm.forecast  # noqa: F401 - before the processes part, so that none of them counts it
    import lnm.pipeline
    import lnm.training  # noqa: F401

    rounds = [(alone(forecast, args.steps), alone(fine_tune, args.steps) | alone(film, args.steps))
              for _ in range(args.rounds)]
    ahead, then = ({name: statistics.median(one[side][name] for one in rounds) for name in rounds[0][0]}
                   for side in (0, 1))
    rows = [{"what": name, "forecast": ahead[name], "measured": then[name], "ratio": ahead[name] / then[name],
             "holds": abs(ahead[name] / then[name] - 1) <= BOUND} for name in ahead]
    print(markdown(rows))
    if args.json:
        write_json(args.json, {"machine": machine("cpu"), "rows": rows})
    return 0 if all(row["holds"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
