"""Rows of answers as the study's page gives them, written by hand."""

from eval.study.aggregate import aggregate
from eval.study.form import COLUMNS, film_hash

HEADER = ",".join(COLUMNS)


STUDY = "0123456789ab"


def row(observer="p1", scene="ocean", question="preference", a="ours", b="cogvideo", choice="A", session=None, seed=7,
        rt=1200, catch=0, study=STUDY, answered=""):
    films = [film_hash(f"{scene} {method}".encode()) for method in (a, b)]
    return ",".join(map(str, (observer, session or f"s-{observer}", study, scene, question, a, b, *films, choice, seed,
                              rt, answered, catch)))


def write(path, *rows, header=HEADER):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def said(path, tmp_path, **options):
    return aggregate([path], tmp_path / "out", resamples=200, **options)
