"""`make lab`, in a real browser: every notebook is opened in JupyterLab and run from top to bottom, one after another.

Tiny weights and a tiny clip, as a person runs them: params.yaml is read afresh, nothing is told by the pipeline.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest
from conftest import REPOSITORY
from lab_project import write_project

from lnm.ablations.plan import read_plan
from lnm.stages.ablation import run_arm

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no chromium on the PATH: apt-get install chromium")
PATIENCE = 600_000  # ms
# in the order in which one needs the other, and what is to be seen of each: pictures, films, players, widgets
SEEN = {"1_prepare": (5, 1, 0, 2), "2_finetune": (3, 0, 0, 1), "3_sample": (3, 2, 1, 5), "rivals": (1, 1, 0, 2),
        "4_evaluate": (3, 0, 0, 2), "5_human_study": (1, 0, 0, 0), "6_paper": (9, 0, 0, 0), "ablations": (2, 0, 0, 0),
        "audit": (1, 0, 0, 0)}
OPEN = """async path => {
    window.book = await jupyterapp.commands.execute('docmanager:open', {path, factory: 'Notebook'});
    await book.context.ready;
    await book.sessionContext.ready;
}"""
OVER = """() => {
    const cells = [...book.content.model.cells].filter(cell => cell.type === 'code').map(cell => cell.toJSON());
    return cells.some(cell => cell.outputs.some(output => output.output_type === 'error'))
        || cells.every(cell => cell.execution_count) && book.sessionContext.session.kernel.status === 'idle';
}"""
DRAWN = """async patience => {
    for (const k of book.content.widgets.keys()) await book.content.scrollToItem(k, 'start');
    const all = kind => [...book.content.node.querySelectorAll('.jp-OutputArea-output ' + kind)];
    const loaded = () => all('img').every(one => one.complete)
        && all('video').every(one => one.error || one.readyState >= 2);
    for (const until = Date.now() + patience; !loaded() && Date.now() < until;)
        await new Promise(next => setTimeout(next, 50));
    return {
        pictures: all('img').map(one => one.naturalWidth), films: all('video').map(one => one.videoWidth),
        players: all('.lnm-player').map(one => one.querySelector('output').textContent),
        widgets: all('> .jupyter-widgets').map(one => one.clientHeight),
        said: [...document.querySelectorAll('.jp-Dialog, .Toastify__toast')].map(one => one.textContent)};
}"""
CLOSE = """async () => {
    await jupyterapp.commands.execute('docmanager:save');
    await book.sessionContext.shutdown();
    book.close();
}"""
FILM = "[...book.content.node.querySelectorAll('.jupyter-widgets .lnm-film')].map(one => one.style.backgroundImage)"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return write_project(tmp_path_factory.mktemp("lab"))


@pytest.fixture(scope="module")
def address(place, tmp_path_factory):
    """JupyterLab's address, with its token. Its environment is as bare as that of a machine that runs tests."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log, home = place / "build" / "lab.log", tmp_path_factory.mktemp("home")
    log.parent.mkdir(exist_ok=True)
    with log.open("w") as out:
        server = subprocess.Popen(
            [sys.executable, "-m", "lnm", "notebook", "lab", "--", "--no-browser", f"--port={port}",
             "--expose-app-in-browser"], cwd=place / "notebooks", stdout=out, stderr=subprocess.STDOUT,
            start_new_session=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
            env={"HOME": str(home), "PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY)})
    try:
        deadline = time.monotonic() + 600
        while not (found := re.search(rf"http://127\.0\.0\.1:{port}/lab\S*token=\w+", log.read_text())):
            assert server.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        yield found[0]
        os.killpg(server.pid, signal.SIGINT)
        server.wait(timeout=60)
        assert "JupyterLab has ended" in log.read_text(), "Ctrl-C ends it in a word"
    finally:
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


@pytest.fixture(scope="module")
def page(address):
    """A browser's page with JupyterLab in it. At the end, no script may have failed."""
    from playwright.sync_api import sync_playwright

    wrong = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(PATIENCE)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto(address)
        page.wait_for_function("window.jupyterapp")
        page.evaluate("jupyterapp.restored")
        page.get_by_role("tab", name="1_prepare.ipynb").wait_for()  # the address opens the first notebook
        yield page
        browser.close()
    assert not wrong


def outputs(page):
    """(cell's id, output) of the open notebook, as it would be saved."""
    cells = page.evaluate("book.content.model.toJSON().cells")
    return [(cell["id"], output) for cell in cells for output in cell.get("outputs", ())]


def run_all(page, name):
    """Opens a notebook and runs it by the menu; what is then drawn."""
    page.evaluate(OPEN, f"notebooks/{name}.ipynb")
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    page.wait_for_function(OVER)
    bad = [(cell, output) for cell, output in outputs(page)
           if output["output_type"] == "error" or output.get("name") == "stderr"]
    assert not bad, f"{name}: {bad}"
    return page.evaluate(DRAWN, PATIENCE)  # wait_for_function takes the first answer of what is async, false as well


def try_the_sliders(page):
    """Another seed, then the other still: each press of the button gives another film, in the player below."""
    live = page.locator(".jupyter-widgets.widget-vbox")
    assert live.locator(".widget-readout").all_inner_texts() == ["4", "8.00", "0", "1.00"]
    seen = []
    live.get_by_role("slider").nth(2).press("ArrowRight")
    for still in ("still 1", "still 2"):
        live.locator("select").first.select_option(still)
        live.get_by_role("button", name="sample a film").click()
        live.get_by_text(f"seed 1, guidance 1, {still}").wait_for()
        seen += page.evaluate(FILM)
    assert len(seen) == len(set(seen)) == 2
    player = live.locator(".lnm-player")
    player.focus()
    player.press("Home")
    player.press("ArrowRight")
    assert player.locator("output").inner_text() == "frame 2 of 4, 0.13 s"


def train_arms(place):
    """What notebook ablations reads, and no notebook makes."""
    plan = read_plan(place)
    for arm, seed in plan.runs(long=False):
        run_arm(place / "results" / plan.video / "prepare", place / "results" / "ablations" / "runs" / arm /
                f"seed_{seed}", place / "store" / "ablations", arm=arm, seed=seed, steps=plan.steps, name=plan.video,
                checkpoint=str(place / "checkpoints" / "tiny"), device="cpu")


def test_every_notebook_runs_from_top_to_bottom_and_shows_what_it_says(page, place):
    assert set(SEEN) == {path.stem for path in (REPOSITORY / "notebooks").glob("*.ipynb")}
    for name, seen in SEEN.items():
        if name == "ablations":
            train_arms(place)
        drawn = run_all(page, name)
        kinds = ("pictures", "films", "players", "widgets")
        assert tuple(len(drawn[kind]) for kind in kinds) == seen, f"{name}: {drawn}"
        assert all(drawn["pictures"] + drawn["films"] + drawn["widgets"]), f"{name}: {drawn}: some are empty"
        assert all(text.startswith("frame ") for text in drawn["players"]), "their scripts have run"
        assert not drawn["said"], "no window or note stands before the notebook"
        if name == "3_sample":
            try_the_sliders(page)
        page.evaluate(CLOSE)


@pytest.mark.parametrize("name, link, seen", [("5_human_study", "open the page", "study.html"),
                                              ("6_paper", "open the report", "report.html")])
def test_the_pages_that_notebooks_name_open_beside_them_and_run_once_they_are_trusted(page, name, link, seen):
    page.evaluate(OPEN, f"notebooks/{name}.ipynb")
    page.get_by_role("link", name=link).click()
    page.get_by_role("tab", name=seen).wait_for()
    page.get_by_role("button", name="Trust HTML").last.click()
    inside = page.frame_locator("iframe").last
    inside.get_by_role("heading").first.wait_for()
    assert not inside.get_by_text("needs JavaScript").is_visible()
