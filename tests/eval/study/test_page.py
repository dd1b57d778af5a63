"""The study's page, driven in a real browser to its end: what was pressed is what the CSV aggregates to."""

import csv
import io
import itertools
import json
import re
import shutil

import numpy as np
import pytest

from eval.study import form
from eval.study.aggregate import aggregate
from eval.study.form import COLUMNS, film_hash
from eval.study.page import read_study, write_page
from eval.study.sieve import Rule, about
from eval.study.votes import read_votes
from lnm.cli import main as command
from lnm.errors import UserError
from lnm.video import write_mp4

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no chromium on the PATH: apt-get install chromium")

DESKTOP, PHONE = {"viewport": {"width": 1280, "height": 800}}, {
    "viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True, "device_scale_factor": 2}
RED, BLUE = (200, 40, 40), (40, 40, 200)
UNHURRIED = Rule(min_rt_ms=0, one_side_p=0)  # these observers are programs: they answer at once


def film(folder, colour, frames=6):
    """A plain colour that brightens a little: what is on the screen tells whose film it is."""
    shade = np.linspace(0, 30, frames)[:, None, None, None]
    pictures = np.broadcast_to(np.array(colour) + shade, (frames, 32, 32, 3)).astype(np.uint8)
    return write_mp4(folder / "film.mp4", pictures, 8).read_bytes()


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("films")
    red, blue = film(folder, RED), film(folder, BLUE)
    return {"ocean": {"ours": red, "cogvideo": blue}, "rain": {"ours": red, "cogvideo": blue}}


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def visit(browser, scenes, tmp_path, monkeypatch):
    """A function that builds a page, opens it and collects complaints; at the end there must be none."""
    (tmp_path / "params.yaml").write_text("videos: {ocean: {path: o.mp4, fps: 8, prompts: [waves]}}\n")
    monkeypatch.chdir(tmp_path)
    contexts, complaints, asked = [], [], []

    def opened(films=scenes, hash="", context=DESKTOP, **build):
        write_page(films, tmp_path / "study.html", **build)
        contexts.append(browser.new_context(**context))
        page = contexts[-1].new_page()
        page.set_default_timeout(120_000)
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto((tmp_path / "study.html").as_uri() + hash)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not complaints
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []


def start(page, observer=""):
    page.get_by_label("participant code").fill(observer)
    page.get_by_label("I have read this").check()
    page.get_by_role("button", name="Start").click()


def seen(page, side):
    """Whose film the screen shows: "ours" is red, "cogvideo" blue, a broken film grain. Waits for it to play."""
    from PIL import Image

    page.locator(f"#choose-{side}:enabled").wait_for()
    picture = np.asarray(Image.open(io.BytesIO(page.locator(f"#film-{side}").screenshot())).convert("RGB"), float)
    middle = picture[picture.shape[0] // 4: -picture.shape[0] // 4, picture.shape[1] // 4: -picture.shape[1] // 4]
    if middle.std(axis=(0, 1)).max() > 25:
        return "catch"
    return "ours" if middle[..., 0].mean() > middle[..., 2].mean() else "cogvideo"


def question(page):
    asked = page.locator("#question").inner_text()
    return next(name for name, text in form.QUESTIONS.items() if text == asked)


def answer_all(page, press, choices="ABBABA"):
    """Answers every trial with A, B, ... by `press`; returns [(question, left, right, choice)] as the screen had it.
    Catch trials, which stand wherever the session's order puts them, take none of `choices`."""
    answers, free = [], itertools.cycle(choices)
    total = int(page.locator("#progress").get_attribute("max"))
    done = int(page.locator("#progress-text").inner_text().split()[0]) - 1
    for k in range(done, total):
        page.get_by_text(f"{k + 1} of {total}", exact=True).wait_for()
        left, right = seen(page, "A"), seen(page, "B")
        attentive = "B" if left == "catch" else "A"
        choice = attentive if "catch" in (left, right) else next(free)
        answers.append((question(page), left, right, choice))
        press(page, choice)
    page.locator("#end").wait_for()
    return answers


def click(page, choice):
    page.locator(f"#choose-{choice}").click()


def tap(page, choice):
    page.locator(f"#choose-{choice}").tap()


def key(page, choice):
    page.keyboard.press({"A": "1", "B": "ArrowRight", "tie": "3"}[choice])


def save(page, folder, press=lambda page: page.get_by_role("link", name="Save the answers").click()):
    with page.expect_download() as download:
        press(page)
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path


def agrees(path, answers, folder):
    """The CSV has the answers as they were given, and aggregates to their counts."""
    with path.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert tuple(rows[0]) == COLUMNS
    given = [(row["question"], *("catch" if row[side].startswith("catch") else row[side]
                                 for side in ("condition_A", "condition_B")), row["choice"]) for row in rows]
    assert given == answers
    assert all((row["is_catch"] == "1") == ("catch" in answer) for row, answer in zip(rows, answers))
    summary = aggregate([path], folder / "out", resamples=50, rule=UNHURRIED, study=read_study(folder / "study.html"))
    assert summary["left_out"] == {} and summary["careless"]["observers"] == {}
    assert summary["catch"]["trials"] == sum("catch" in answer for answer in answers)
    for name in form.QUESTIONS:
        votes = [{"A": left, "B": right, "tie": None}[choice] for asked, left, right, choice in answers
                 if asked == name and "catch" not in (left, right)]
        pair, = summary["questions"][name]["pairs"]
        decided = len(votes) - votes.count(None)
        assert (pair["first"], pair["ties"]) == ("ours", votes.count(None))
        if decided:  # of ties alone there is no share
            assert (pair["wins"], pair["n"]) == (votes.count("ours"), decided)
        else:
            assert pair["refused"] == "every vote is a tie"
    return rows


def test_a_desktop_by_mouse(visit, tmp_path, scenes):
    page = visit()
    start(page, "code-1")
    first, second = (page.locator(f"#film-{side}").bounding_box() for side in "AB")
    assert first["y"] == second["y"] and first["x"] + first["width"] < second["x"]
    answers = answer_all(page, click)
    rows = agrees(save(page, tmp_path), answers, tmp_path)
    assert len(rows) == 10 and {row["observer"] for row in rows} == {"code-1"}
    for row in rows:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", row["answered"])
        for side in "AB":
            if (method := row[f"condition_{side}"]) in ("ours", "cogvideo"):
                assert row[f"film_{side}"] == film_hash(scenes[row["scene"]][method])
    assert [len({row[name] for row in rows}) for name in ("study", "session", "side_seed")] == [1, 1, 1]
    assert {(row["scene"], row["question"]) for row in rows if row["is_catch"] == "0"} == {
        (scene, name) for scene in ("ocean", "rain") for name in ("preference", "realism")}
    assert all(0 <= int(row["rt_ms"]) < 20_000 for row in rows)
    assert page.locator("#csv").input_value() == save(page, tmp_path).read_bytes().decode().replace("\r\n", "\n")


def test_answers_about_old_films_are_refused_with_a_list_once_the_films_are_new(visit, tmp_path, scenes, capsys):
    """Review, bugs: votes were not tied to films."""
    page = visit()
    start(page, "early")
    answers = answer_all(page, click)
    path = save(page, tmp_path)
    new = {scene: films | {"ours": film(tmp_path, (60, 160, 60))} for scene, films in scenes.items()}
    write_page(new, tmp_path / "new.html")
    assert command(["study", "aggregate", str(path), "--study", "new.html", "--min-rt-ms", "0", "--out", "out"]) == 2
    said = capsys.readouterr().err.splitlines()
    listed = [line for line in said if "is not this study's film of ours in" in line]
    assert len(listed) == len(answers) - sum(row["film_A"] != film_hash(scenes[row["scene"]]["ours"]) and
                                             row["film_B"] != film_hash(scenes[row["scene"]]["ours"])
                                             for row in csv.DictReader(path.open(newline="")))
    assert said[-1].startswith(f"error: none of the {len(listed)} answers above is about the films of the study ")
    assert "no responses yet" in (tmp_path / "out" / "summary.md").read_text()
    assert command(["study", "aggregate", str(path), "--study", "study.html", "--min-rt-ms", "0", "--out", "old"]) == 0
    assert "4 votes of 1 observers counted" in capsys.readouterr().out


@pytest.mark.parametrize("catch, may_fail, enough", [(5, 0, False), (6, 0, True), (6, 1, False), (9, 1, True)])
def test_catch_trials_are_as_many_as_keep_luck_below_2_percent(tmp_path, scenes, catch, may_fail, enough):
    if not enough:
        with pytest.raises(UserError, match=f"catch {catch}: who presses at random passes with probability 0."):
            write_page(scenes, tmp_path / "s.html", catch=catch, max_failed=may_fail)
        return
    study = write_page(scenes, tmp_path / "s.html", catch=catch, max_failed=may_fail)
    assert study["luck"] <= 0.02 and read_study(tmp_path / "s.html") == read_study(tmp_path / "s.json")
    assert read_study(tmp_path / "s.json") == json.loads(json.dumps(study))


def test_a_phone_by_touch_stacked_and_all_on_one_screen(visit, tmp_path):
    page = visit(context=PHONE, ties=True, seed=2)
    start(page)
    first, second = (page.locator(f"#film-{side}").bounding_box() for side in "AB")
    assert first["y"] + first["height"] < second["y"] and first["x"] == second["x"] and first["width"] > 150
    page.locator("#choose-A:enabled").wait_for()
    assert page.evaluate("[document.documentElement.scrollWidth, document.documentElement.scrollHeight]") == [390, 844]
    for button in page.locator("button:visible").all():
        assert button.bounding_box()["height"] >= 44  # a finger's
    answers = answer_all(page, tap, ["A", "tie", "B", "tie"])
    rows = agrees(save(page, tmp_path), answers, tmp_path)
    assert "tie" in {row["choice"] for row in rows} and re.fullmatch(r"p-[0-9a-f]{8}", rows[0]["observer"])


def test_by_keyboard_alone(visit, tmp_path):
    page = visit(ties=True)

    def tab_to(selector):
        for _ in range(15):
            page.keyboard.press("Tab")
            if page.evaluate("s => document.activeElement.matches(s)", selector):
                outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
                return outline != "none"  # where the focus is can be seen
        raise AssertionError(f"{selector} is not reached by Tab")

    assert tab_to("#observer")
    page.keyboard.type("keys_only")
    assert tab_to("#agree")
    page.keyboard.press("Space")
    assert tab_to("[type=submit]")
    page.keyboard.press("Enter")
    answers = answer_all(page, key, ["A", "B", "tie"])
    assert tab_to("#download")
    path = save(page, tmp_path, lambda page: page.keyboard.press("Enter"))
    assert path.name.startswith("human_study_keys_only_")
    agrees(path, answers, tmp_path)


def test_focus_goes_through_the_choices_in_the_order_they_are_seen(visit):
    page = visit(ties=True)
    start(page)
    page.locator("#choose-A:enabled").wait_for()
    assert page.evaluate("document.activeElement.id") == "question"
    order = []
    for _ in range(5):
        page.keyboard.press("Tab")
        order.append(page.evaluate("document.activeElement.id"))
    assert order == ["choose-A", "choose-B", "choose-tie", "pause", "keys"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("context", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_axe_finds_nothing_serious_on_any_screen(visit, scheme, context):
    from axe_playwright_python.sync_playwright import Axe

    def faults(page):
        found = Axe().run(page).response
        assert len(found["passes"]) > 10
        return [f"{fault['id']}: {fault['nodes'][0]['html']}" for fault in found["violations"]
                if fault["impact"] in ("serious", "critical")]

    page = visit(context=context | {"color_scheme": scheme, "bypass_csp": True}, ties=True)
    assert faults(page) == []
    page.get_by_label("participant code").fill("a code?")
    page.get_by_label("I have read this").check()
    page.get_by_role("button", name="Start").click()
    page.get_by_text("may hold only letters").wait_for()
    assert faults(page) == []
    start(page)
    page.locator("#choose-A:enabled").wait_for()
    assert faults(page) == []
    page.reload()
    page.get_by_text("0 of 10 answers are still here").wait_for()
    assert faults(page) == []
    page.get_by_role("button", name="Go on").click()
    for k in range(10):
        page.get_by_text(f"{k + 1} of 10", exact=True).wait_for()
        page.locator("#choose-A:enabled").click()
    page.locator("#end").wait_for()
    page.locator("summary").click()
    assert faults(page) == []


def test_a_session_is_resumed_where_it_was(visit, tmp_path):
    page = visit()
    start(page, "p7")
    before = []
    for k in range(2):
        page.get_by_text(f"{k + 1} of 10", exact=True).wait_for()
        before.append((question(page), seen(page, "A"), seen(page, "B"), "A"))
        key(page, "A")
    page.get_by_text("3 of 10", exact=True).wait_for()
    page.reload()
    page.get_by_text("2 of 10 answers are still here").wait_for()
    assert not page.get_by_role("button", name="Start", exact=True).is_visible()
    page.get_by_role("button", name="Go on").click()
    page.get_by_text("3 of 10", exact=True).wait_for()
    after = answer_all(page, click)
    page.reload()  # at the end, not saved yet: nothing is lost either
    page.get_by_role("button", name="Go on").click()
    with save(page, tmp_path).open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    given = [(r["question"], *("catch" if r[s].startswith("catch") else r[s] for s in ("condition_A", "condition_B")),
              r["choice"]) for r in rows]
    assert given == before + after
    assert {row["observer"] for row in rows} == {"p7"} and len({row["session"] for row in rows}) == 1


def test_closing_warns_until_the_answers_are_saved(visit, tmp_path):
    page = visit()
    dialogs = []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.type), dialog.dismiss()))

    def close(then):
        with page.expect_event(then):
            page.close(run_before_unload=True)

    start(page)
    page.locator("#choose-A:enabled").click()
    close("dialog")
    assert dialogs == ["beforeunload"] and not page.is_closed()
    page.get_by_text("2 of 10", exact=True).wait_for()
    answer_all(page, click)
    close("dialog")
    assert dialogs == ["beforeunload"] * 2 and not page.is_closed()
    save(page, tmp_path)
    close("close")
    assert dialogs == ["beforeunload"] * 2


def test_sides_and_order_follow_from_the_seed(visit, tmp_path):
    def rows(hash):
        page = visit(hash=hash)
        start(page)
        answer_all(page, key)
        with save(page, tmp_path).open(newline="") as stream:
            return [[row[name] for name in ("scene", "question", "condition_A", "condition_B", "side_seed")]
                    for row in csv.DictReader(stream)]

    first, other = rows("#seed=7"), rows("#seed=8")
    assert first == planned(7, first) and {row[-1] for row in first} == {"7"}
    assert other == planned(8, other) and [row[:-1] for row in first] != [row[:-1] for row in other]


def planned(seed, rows):
    """The page's order and sides, computed here: mulberry32 and Fisher-Yates over the trials in the study's order."""
    def random():
        nonlocal state
        state = (state + 0x6D2B79F5) % 2**32
        t = (state ^ state >> 15) * (1 | state) % 2**32
        t = ((t + (t ^ t >> 7) * (61 | t)) % 2**32) ^ t
        return (t ^ t >> 14) % 2**32 / 2**32

    def shuffle(items):
        for i in range(len(items) - 1, 0, -1):
            j = int(random() * (i + 1))
            items[i], items[j] = items[j], items[i]
        return items

    state, out = seed, []
    caught = {(row[1], *sorted(row[2:4], key=lambda name: name.startswith("catch"))): row[0] for row in rows
              if any(name.startswith("catch") for name in row[2:4])}
    for name in shuffle(["preference", "realism"]):
        trials = [(scene, name, "ours", "cogvideo") for scene in ("ocean", "rain")]
        trials += [(scene, *trial) for trial, scene in sorted(caught.items(), key=lambda one: one[0][-1])
                   if trial[0] == name]  # by the number in catch-1 to catch-6, as the study has them
        first = 0 if random() < 0.5 else 1
        swaps = shuffle([i % 2 == first for i in range(len(trials))])
        out += shuffle([[scene, asked, *((b, a) if swap else (a, b)), str(seed)]
                        for (scene, asked, a, b), swap in zip(trials, swaps)])
    return out


def test_names_and_texts_with_markup_stay_text(visit, tmp_path, scenes):
    evil = '<script>hacked = 1</script>"\'><img src=x onerror="hacked = 1"> ,'
    films = {f"{evil}scene": {f"{evil}ours": scenes["ocean"]["ours"], f"</script>{evil}": scenes["ocean"]["cogvideo"]}}
    page = visit(films, title=f"{evil} & title", consent=f"{evil}\n\n<b>second</b> paragraph\nand line")
    assert page.locator("h1:visible").inner_text() == f"{evil} & title" and page.title() == f"{evil} & title"
    assert page.locator("p.said").all_inner_texts() == [evil, "<b>second</b> paragraph\nand line"]
    start(page)
    answer_all(page, key)
    assert page.evaluate("typeof hacked") == "undefined" and page.locator("img").count() == 0
    votes, problems, _ = read_votes([save(page, tmp_path)])
    assert problems.empty and set(votes["scene"]) == {f"{evil}scene"}
    assert f"{evil}ours" in set(votes["condition_A"]) | set(votes["condition_B"])


def test_a_name_that_is_a_formula_is_text_in_the_csv_and_counted_by_its_own_name(visit, tmp_path, scenes):
    names = {"=1+1": scenes["ocean"]["ours"], "-2+cmd|x": scenes["ocean"]["cogvideo"]}
    page = visit({"@SUM(A1)": names})
    start(page)
    answer_all(page, key)
    path = save(page, tmp_path)
    with path.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert {row["scene"] for row in rows} == {"'@SUM(A1)"}
    assert {row[side] for row in rows for side in ("condition_A", "condition_B") if not row[side].startswith("catch")
            } == {"'=1+1", "'-2+cmd|x"}
    assert all(row[name].isdigit() for row in rows for name in ("side_seed", "rt_ms")), "numbers stay numbers"
    votes, problems, _ = read_votes([path])
    assert problems.empty and set(votes["scene"]) == {"@SUM(A1)"}
    votes, others = about(votes, read_study(tmp_path / "study.html"))
    assert len(votes) == len(rows) and not others


def test_nothing_can_be_answered_before_both_films_play(visit):
    page = visit()
    page.evaluate("() => { HTMLMediaElement.prototype.play = () => new Promise(() => {}) }")  # never starts
    start(page)
    page.wait_for_timeout(700)
    key(page, "A")
    assert page.locator(".choose:enabled").count() == 0
    assert page.locator("#progress-text").inner_text() == "1 of 10"


def test_the_films_loop_muted_and_can_be_paused(visit):
    page = visit()
    start(page)
    page.locator("#choose-A:enabled").wait_for()
    both = "[...document.querySelectorAll('video')]"
    assert page.evaluate(f"{both}.every(v => v.loop && v.muted && !v.paused && v.readyState === 4)")
    page.evaluate(f"window.rounds = 0; {both}[0].addEventListener('seeked', () => window.rounds++)")
    for _ in range(1200):  # the page forbids what wait_for_function does
        if page.evaluate("window.rounds > 0"):
            break
        page.wait_for_timeout(100)
    assert page.evaluate("window.rounds > 0")
    assert page.evaluate(f"{both}.every(v => !v.ended && !v.paused)")
    page.get_by_role("button", name="Pause the films").click()
    assert page.evaluate(f"{both}.every(v => v.paused)")
    page.get_by_role("button", name="Play the films").click()
    page.get_by_role("button", name="Pause the films").wait_for()
    assert page.evaluate(f"{both}.every(v => !v.paused)")


def test_where_motion_is_unwelcome_films_wait_to_be_started(visit):
    page = visit(context=DESKTOP | {"reduced_motion": "reduce"})
    start(page)
    page.get_by_text("The films wait for you").wait_for()
    assert page.evaluate("[...document.querySelectorAll('video')].every(v => v.paused)")
    assert page.locator(".choose:enabled").count() == 0
    page.get_by_role("button", name="Play the films").click()
    page.locator("#choose-B:enabled").click()
    page.get_by_text("2 of 10", exact=True).wait_for()


def test_a_key_held_down_or_switched_off_answers_nothing_more(visit):
    page = visit()
    start(page)
    page.locator("#choose-A:enabled").wait_for()
    page.keyboard.down("1")
    page.get_by_text("2 of 10", exact=True).wait_for()
    page.locator("#choose-A:enabled").wait_for()
    page.keyboard.down("1")  # the same press, repeating
    page.keyboard.press("3")  # a tie, which this study does not have
    page.wait_for_timeout(500)
    page.keyboard.up("1")
    page.get_by_label("Keys 1 and 2").uncheck()
    page.keyboard.press("1")
    page.keyboard.press("ArrowLeft")
    page.wait_for_timeout(500)
    assert page.locator("#progress-text").inner_text() == "2 of 10"
    assert page.get_by_role("button", name="No difference").count() == 0


@pytest.mark.parametrize("code", ["SIMULATED-1", "simulated", "=1+1", "-x", "a,b", "Zo\u00eb"])
def test_a_code_that_would_spoil_the_csv_is_refused(visit, code):
    page = visit()
    start(page, code)
    assert page.locator("#form-error").inner_text() and page.locator("#consent").is_visible()
    assert page.evaluate("document.activeElement.id") == "observer"


def test_without_consent_there_is_no_film(visit):
    page = visit()
    page.get_by_role("button", name="Start").click()
    assert page.locator("#consent").is_visible() and not page.locator("#trial").is_visible()


def test_a_film_the_browser_cannot_play_is_said_and_nothing_is_lost(visit, scenes, monkeypatch):
    monkeypatch.setattr("eval.study.page.broken", lambda film, seed: film)
    # of 8 trials 3 are catch trials of ours alone: the seed is one whose first trial shows the other
    page = visit({"ocean": {"ours": scenes["ocean"]["ours"], "other": b"no film"}}, hash="#seed=0")
    start(page)
    page.get_by_role("heading", name="A film cannot be played").wait_for()
    page.reload()
    page.get_by_text("0 of 8 answers are still here").wait_for()
