"""The review desk in a real browser, on takes that were really rendered: every decision, two reviewers at once, undo, keys alone, axe."""

import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import text

from browser_cases import browser_fixture  # noqa: F401 (a fixture)
from db import accounts, desk, pending, queries, reviews
from db.session import Database, open_database
from db.tables_desk import Pending
from flow_cases import COLLINS, Watched, run_manifest, settings, write_manifest  # noqa: F401 (settings is a fixture)
from flows.review import go_on
from infra.artifacts import open_artifacts
from infra.settings import Settings
from models.types import Cue
from tasks.manifest import load_manifest
from tasks.speech import synthesise
from tasks.values import load_speech
from test_flows_ladder import ask

PASSWORD = "correct horse battery"
SCRIPT = "WEBVTT\n\n00:00.000 --> 00:01.000\n<v Ana>Hello there.\n\n00:01.100 --> 00:01.900\n<v Ana>Good day.\n"


class Served:
    """A desk that runs: its address, its ledger, and its work, which a test does itself."""

    def __init__(self, url: str, database: Database) -> None:
        self.url, self.database = url, database

    def jobs(self) -> dict[str, dict[str, Any]]:
        return {job["title"]: job for job in queries.report(self.database, 1)["jobs"]}

    def until(self, title: str, state: str) -> dict[str, Any]:
        """The job once it is in a state."""
        ends = time.monotonic() + 30
        while (job := self.jobs()[title])["state"] != state:
            assert time.monotonic() < ends, f"{title} is {job['state']}"
            time.sleep(0.1)
        return job

    def give_all_back(self) -> None:
        """Nobody holds anything, as five minutes after everybody has gone."""
        with self.database.begin() as session:
            session.execute(text("DELETE FROM claims"))

    def newest(self, title: str) -> dict[str, Any]:
        return self.jobs()[title]["takes"][-1]


@pytest.fixture(scope="module", name="served")
def served_fixture(tmp_path_factory: pytest.TempPathFactory, settings: Settings) -> Iterator[Served]:  # noqa: F811
    """Four flagged jobs with a take each: three say the same, whose speech is made once, and the fourth has a script."""
    import uvicorn

    from cli_serve import _listen, make_site

    folder = tmp_path_factory.mktemp("desk")
    ask(999.0, settings)
    (folder / "two.vtt").write_text(SCRIPT)
    jobs: list[dict[str, Any]] = [{"title": name, "text": "Hello there."} for name in ("one", "two", "three")]
    jobs.append({"title": "script", "script": "two.vtt", "portrait": str(COLLINS), "voices": {"Ana": "espeak:en-us"}})
    made = load_manifest(write_manifest(folder, jobs, batch="desk", ladder={"takes": 1}))
    assert {job["state"] for job in run_manifest(made, settings, Watched()).rows["jobs"]} == {"flagged"}
    site = make_site(settings)
    database = open_database(settings)
    for name, role in (("ana", "reviewer"), ("bo", "reviewer"), ("vera", "viewer"), ("root", "admin")):
        accounts.add(database, name, role, PASSWORD)
    held = _listen("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(site, log_level="warning", access_log=False))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [held]}, daemon=True)
    thread.start()
    yield Served(f"http://127.0.0.1:{held.getsockname()[1]}", database)
    server.should_exit = True
    thread.join(timeout=20)
    database.close()


def page_of(browser: Any, served: Served, name: str = "", **more: Any) -> Any:
    """A page of a browser of its own, signed in; what it logs as an error fails the test that closes it."""
    context = browser.new_context(base_url=served.url, locale="en-US", timezone_id="Asia/Tokyo", **more)
    page = context.new_page()
    page.set_default_timeout(30_000)
    page.faults = []
    page.on("pageerror", lambda error: page.faults.append(str(error)))
    page.on("console", lambda said: page.faults.append(said.text) if said.type == "error" and "favicon" not in said.text else None)
    if name:
        page.goto("/")
        page.fill("[name=name]", name)
        page.fill("[name=password]", PASSWORD)
        page.keyboard.press("Enter")
        page.wait_for_selector("#rows")
        page.wait_for_load_state("load")  # and its script and style: what a test counts next is of its own page
    return page


def wait(page: Any, condition: str, seconds: float = 30) -> None:
    """Until a condition of the page holds. (Playwright's own way evaluates text, which the desk's content policy does not let it.)"""
    ends = time.monotonic() + seconds
    while not page.evaluate(condition):
        assert time.monotonic() < ends, condition
        time.sleep(0.05)


def opened(page: Any, served: Served, title: str) -> Any:
    page.goto(f"/takes/{served.newest(title)['take']}")
    page.wait_for_selector("#player[data-ready]")
    return page


def test_one_key_from_opening_to_hearing_the_failing_second_and_keys_alone_to_a_decision(browser: Any, served: Served) -> None:
    page = page_of(browser, served, "ana")
    page.wait_for_selector("#rows tr")
    assert page.locator("#count").inner_text() == "4" and page.locator("#rows tr").count() == 4
    page.keyboard.press("j")  # the most urgent
    page.wait_for_selector("#player[data-ready]")
    if served_job(page, served)[1] == "script":  # which is rendered again below
        opened(page, served, "one")
    failing = page.evaluate("fetch(location.pathname + '/data').then((a) => a.json()).then((d) => d.failing[0])")
    page.keyboard.press("f")
    wait(page, "!document.getElementById('video').paused && document.getElementById('video').currentTime > 0")
    assert page.evaluate("[document.getElementById('video').muted, document.getElementById('video').currentTime]")[0] is False
    wait(page, f"document.getElementById('video').currentTime >= {max(0, failing - 0.3)}")
    page.keyboard.press(" ")
    wait(page, "document.getElementById('video').paused")
    before = page.evaluate("document.getElementById('video').currentTime")
    page.keyboard.press(",")
    wait(page, f"Math.abs(document.getElementById('video').currentTime - {max(0, before - 0.04)}) < 0.005")
    page.keyboard.press("s")
    assert page.evaluate("document.getElementById('video').playbackRate") == 0.5
    page.keyboard.press("?")
    assert page.locator("#help").is_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("m")
    page.keyboard.type("a f r j")  # keys that are written decide nothing
    assert page.locator("#note").input_value() == "a f r j" and not pending.of_person(served.database, accounts.check(served.database, "ana", PASSWORD))  # type: ignore[arg-type]
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_selector(".note")
    job, title = served_job(page, served)
    page.keyboard.press("r")
    page.keyboard.press("2")
    page.keyboard.press("Enter")
    page.wait_for_selector(".waiting")
    assert served.jobs()[title]["state"] == "flagged"  # not yet
    page.keyboard.press("u")
    page.wait_for_selector("#player[data-ready]")
    assert page.locator(".waiting").count() == 0 and page.url.endswith(f"/takes/{served.newest(title)['take']}")
    page.keyboard.press("r")
    page.keyboard.press("2")
    page.keyboard.press("Enter")
    page.wait_for_selector(".waiting")
    served.until(title, "rejected")
    (made,) = reviews.of_job(served.database, job)
    assert (made["actor"], made["decision"], made["reason"]) == ("ana", "reject", "mouth") and made["seconds"] > 0
    wait(page, "!document.querySelector('.waiting')")  # too late to take back
    assert not page.faults


def served_job(page: Any, served: Served) -> tuple[int, str]:
    number = int(page.url.split("/takes/")[1].split("?")[0])
    return next((job["job"], title) for title, job in served.jobs().items() if number in [take["take"] for take in job["takes"]])


def test_two_reviewers_at_once_and_a_viewer(browser: Any, served: Served) -> None:
    title = next(title for title, job in served.jobs().items() if job["state"] == "flagged" and title != "script")
    ana, bo, vera = (page_of(browser, served, name) for name in ("ana", "bo", "vera"))
    opened(ana, served, title)
    opened(bo, served, title)
    assert "ana is working on this job" in bo.locator("#claim").inner_text()
    assert bo.locator(".decide").count() == 0 and ana.locator(".decide").count() == 1
    take = served.newest(title)["take"]
    forced = bo.evaluate(
        f"fetch('/takes/{take}/decide', {{method: 'POST', headers: {{'x-csrf': document.body.getAttribute('hx-headers').split('\"')[3]}}, body: new URLSearchParams({{decision: 'approve'}})}}).then((a) => a.status)"
    )
    assert forced == 409
    bo.faults.clear()  # the browser tells of the 409
    opened(vera, served, title)
    assert vera.locator(".decide, #note, #claim").count() == 0
    assert not pending.of_job(served.database, served.jobs()[title]["job"])
    bo.goto("/")
    held = f"tr.held[data-job='{served.jobs()[title]['job']}']"
    bo.wait_for_selector(held)
    ana.click("text=Give back")
    wait(bo, f'!document.querySelector("{held}")')  # by itself
    wait(bo, "(document.querySelector('#rows time')?.title || '').includes('202')")  # in the reader's zone, not in UTC
    assert not ana.faults + bo.faults + vera.faults


def test_the_queue_is_narrowed_and_views_of_it_are_kept_and_forgotten(browser: Any, served: Served) -> None:
    served.give_all_back()
    page = page_of(browser, served, "ana")
    for name, value in (("says", "Ana"), ("speaker", "astronaut_collins")):
        page.goto("/")
        with page.expect_navigation():
            page.select_option(f"[name={name}]", value)  # shows them without a further click
        assert page.locator("#rows tr[data-job]").count() == 1 and "script" in page.inner_text("#rows") and page.inner_text("#count") == "1"
    page.fill(".views [name=name]", "the script")
    page.click("text=Save view")
    page.wait_for_selector(".views a.chip[aria-current=true]")
    page.click("text=Clear")
    page.click(".views >> text=the script")  # and from any page of the queue back to it
    page.click("text=Forget this view")
    page.goto("/")
    assert page.locator(".views a.chip").count() == 0
    for query, rows in (("locale=en-US", True), ("engine=coherence", False), ("kind=sync&hours=0", True), ("hours=24", False), ("batch=1&held=free", True), ("held=mine", False), ("speaker=nobody", False)):
        page.goto(f"/?{query}")
        assert (page.locator("#rows tr[data-job]").count() > 0) is rows and page.locator(".empty").count() == (not rows), query
    assert not page.faults


def test_ticked_takes_are_held_and_decided_on_together_and_others_are_left_out(browser: Any, served: Served) -> None:
    served.give_all_back()
    ana, bo = (page_of(browser, served, name) for name in ("ana", "bo"))
    jobs = [int(row.get_attribute("data-job")) for row in bo.locator("#rows tr[data-job]").all()]
    bo.check(f"tr[data-job='{jobs[0]}'] input")
    bo.click(".bulk >> text=Claim")
    bo.wait_for_selector(f"tr[data-job='{jobs[0]}'] .chip.mine")
    ana.goto("/")
    ana.check("#all")
    assert ana.inner_text("#ticked") == str(len(jobs))
    for button, words in (("Approve", "takes approved"), ("Render again", "were asked for"), ("Reject", "takes rejected")):
        ana.check("#all")
        ana.click(f".bulk >> text={button}")
        told = ana.wait_for_selector(f".waiting >> text={words}").inner_text()
        assert str(len(jobs) - 1) in told, button  # bo's is left out
        assert pending.of_job(served.database, jobs[0]) is None and pending.of_job(served.database, jobs[1])
        with ana.expect_navigation():
            ana.keyboard.press("u")
        assert ana.locator(".waiting").count() == 0 and pending.of_job(served.database, jobs[1]) is None
    ana.check("#all")
    ana.click(".bulk >> text=Give back")
    wait(bo, f"!document.querySelector(\"tr[data-job='{jobs[1]}'] td:last-child .chip\")")
    bo.check(f"tr[data-job='{jobs[0]}'] input")
    bo.click(".bulk >> text=Give back")
    wait(bo, "!document.querySelector('#rows .chip.mine')")
    assert {job["state"] for job in served.jobs().values() if job["job"] in jobs} == {"flagged"} and not ana.faults + bo.faults


def test_another_text_or_anchor_is_asked_for_and_a_click_on_the_curve_jumps_there(browser: Any, served: Served) -> None:
    title = next(title for title, job in served.jobs().items() if job["state"] == "flagged" and title != "script")
    page = opened(page_of(browser, served, "ana"), served, title)
    box = page.locator("#curve").bounding_box()
    page.mouse.click(box["x"] + box["width"] * 0.75, box["y"] + box["height"] / 2)
    wait(page, "document.getElementById('video').currentTime > 0.5 * document.getElementById('video').duration")
    page.keyboard.press("g")
    page.fill("[name=start]", "3")
    page.fill("#again [name=text]", "Hello again.")
    page.select_option("#again [name=reason]", "speech")
    page.click("#again >> text=Render again >> nth=-1")
    page.wait_for_selector(".waiting")
    held = pending.of_job(served.database, served.jobs()[title]["job"])
    with served.database.begin() as session:
        row = session.get(Pending, served.jobs()[title]["job"])
        assert held and row and (row.decision, row.reason, row.changes) == ("again", "speech", {"start": 3, "text": "Hello again."})
    page.keyboard.press("u")  # in time
    page.wait_for_selector("#player[data-ready]")
    assert pending.of_job(served.database, served.jobs()[title]["job"]) is None
    late = page.evaluate("(token) => fetch('/undo/' + token, {method: 'POST', headers: {'x-csrf': JSON.parse(document.body.getAttribute('hx-headers'))['x-csrf']}}).then((a) => a.status)", held["bundle"])
    assert late == 409  # it is no more: as after ten seconds
    page.faults.clear()  # the browser tells of the 409
    page.click("text=Give back")
    page.wait_for_selector("#rows")
    assert not page.faults


def test_approved_takes_are_delivered_and_bulk_decisions_can_be_taken_back(browser: Any, served: Served, settings: Settings) -> None:  # noqa: F811
    left = [title for title, job in served.jobs().items() if job["state"] == "flagged" and title != "script"]
    page = opened(page_of(browser, served, "ana"), served, left[0])
    page.click(".decide >> text=Approve")
    page.wait_for_selector(".waiting")
    page.goto("/")
    page.check("#all")
    page.click(".bulk >> text=Reject")
    page.wait_for_selector(".waiting >> text=takes rejected")
    page.click(".waiting:has-text('takes rejected') >> text=Undo")
    wait(page, "!document.body.innerText.includes('takes rejected')")
    job = served.until(left[0], "queued")
    assert {served.jobs()[title]["state"] for title in left[1:]} == {"flagged"}
    assert go_on(settings, Watched()) == [f"{left[0]}/en-US"]
    done = served.jobs()[left[0]]
    assert done["state"] == "delivered", done["error"]
    assert Path(done["delivery"]["url"]).is_file() and job["takes"][0]["reviews"][0]["actor"] == "ana"
    page.goto("/batches/1")
    assert "delivered" in page.inner_text("main") and page.locator("svg.states").count() == 1
    page.click("section:has-text('Delivered') >> text=Lineage")
    page.wait_for_selector("svg.lineage a")
    assert page.locator("svg.lineage rect.weights").count() >= 1 and "approved" in page.inner_text("main")
    assert [page.locator(f"svg.lineage rect.{kind}").count() for kind in ("score", "decision")] == [1, 1]
    tree = page.evaluate("fetch(location.pathname + '.json').then((a) => a.json())")
    assert tree["sha256"] == done["delivery"]["sha256"] and [row["decision"] for take in tree["takes"] for row in take["reviews"]] == ["approve"]
    assert not page.faults


def test_another_take_is_rendered_as_the_reviewer_wants_it(browser: Any, served: Served, settings: Settings) -> None:  # noqa: F811
    page = opened(page_of(browser, served, "ana"), served, "script")  # who holds it since the bulk decision
    assert page.locator("#cues button").count() == 2 and "Hello there." in page.inner_text("#cues")
    page.keyboard.press("g")
    page.select_option("[name=engine]", "lipmemory")
    page.fill("[name=emphasis]", "1.1")
    page.fill("[name=start]", "1")
    page.fill("[name=voice-0]", "espeak:en-gb")  # Ana's
    page.fill("[name=cue-1]", "Good night.")
    page.fill("#again [name=note]", "warmer")
    page.click("#again >> text=Render again >> nth=-1")
    page.wait_for_selector(".waiting")
    served.until("script", "queued")
    assert go_on(settings, Watched()) == ["script/en-US"]
    job = served.jobs()["script"]
    first, second = job["takes"]
    told = second["parameters"]
    assert job["state"] == "flagged" and (second["engine"], told["rung"]["emphasis"], told["rung"]["start"]) == ("lipmemory", 1.1, 1)
    assert told["cue_texts"] == {"1": "Good night.", "voices": {"Ana": "espeak:en-gb"}}
    cues = (Cue(0.0, 1.0, "Hello there.", "Ana"), Cue(1.1, 1.9, "Good night.", "Ana"))
    heard = load_speech(open_artifacts(settings).path(queries.takes_of(served.database, job["job"])[-1]["speech"])).sound
    assert np.array_equal(heard, synthesise(cues, "en-US", voices={"Ana": "espeak:en-gb"}).sound)
    assert "a reviewer asked for it" in told["why"] and first["engine"] == "avct"
    bo = accounts.check(served.database, "bo", PASSWORD)
    assert bo and [row["number"] for row in desk.listed(served.database, desk.Filters(), bo) if row["job_id"] == job["job"]] == [2]  # not of other words
    opened(page, served, "script")
    assert "Good night." in page.inner_text("#cues") and "Hello there." in page.inner_text("#cues")
    page.keyboard.press("b")  # beside the other take, in step
    wait(page, "document.getElementById('other').readyState >= 2")
    page.keyboard.press(" ")
    wait(page, "document.getElementById('video').currentTime > 0.3")
    page.keyboard.press(" ")
    wait(page, "document.getElementById('other').paused && Math.abs(document.getElementById('other').currentTime - document.getElementById('video').currentTime) < 0.07")
    page.click(".moment >> nth=0")
    assert page.evaluate("document.querySelector('.moment img').naturalWidth") > 50
    assert not page.faults


def test_a_cue_s_times_and_a_word_s_sounds_are_changed_and_the_page_says_what_it_costs(browser: Any, served: Served, settings: Settings) -> None:  # noqa: F811
    page = opened(page_of(browser, served, "ana"), served, "script")
    seen = served.newest("script")
    page.keyboard.press("g")
    assert "all" in page.inner_text("#cost")  # nothing is changed: another take is wholly another
    page.fill("[name=to-1]", "1.80")
    assert page.inner_text("#cost") == "Windows to render: 1 of 1; the others stay as they are."
    page.select_option("[name=engine]", "avct")
    assert "all" in page.inner_text("#cost")
    page.select_option("[name=engine]", "")
    page.fill("[name=from-1]", "1.20")
    page.fill("[name=word]", "night")
    page.fill("[name=ipa]", "nɪt")
    page.click("#again >> text=Render again >> nth=-1")
    page.wait_for_selector(".waiting")
    served.until("script", "queued")
    assert go_on(settings, Watched()) == ["script/en-US"]
    made = served.newest("script")
    said = made["parameters"]["cue_texts"]
    assert (said["times"], said["lexicon"], said["1"]) == ({"1": [1.2, 1.8]}, {"night": "nɪt"}, "Good night.")  # with what was changed before
    assert made["parameters"]["rung"] == seen["parameters"]["rung"] and "in other words" in made["parameters"]["why"]
    assert any("said by the lexicon: night" in note for note in made["parameters"]["notes"]) and made["video"] != seen["video"]
    opened(page, served, "script")
    assert page.evaluate("fetch(location.pathname + '/data').then((a) => a.json()).then((d) => d.cues[1].slot)") == [1.2, 1.8]
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.click("[data-copy=lexicon]")  # what was learned of the title goes on, as the file that the next manifest takes
    wait(page, "document.querySelector('[data-copy=lexicon]').textContent === '✓'")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.replace("\r\n", "\n") == "written,spoken,ipa,locale\nnight,,nɪt,en-US\n"
    with page.expect_download() as found:
        page.click("text=Lexicon (CSV)")
    assert found.value.suggested_filename == "lexicon-script_en-US.csv" and found.value.path().read_text("utf-8-sig") == "written,spoken,ipa,locale\nnight,,nɪt,en-US\n"
    page.click("text=Versions")
    page.wait_for_selector(f"svg.lineage a[href='/takes/{served.newest('script')['take']}']")
    assert page.locator("svg.lineage rect.master").count() == 1 and page.locator("svg.lineage rect.version").count() == 1
    assert not page.faults


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_are_small_and_axe_finds_nothing_serious(browser: Any, served: Served, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="left out: no axe-playwright-python here").Axe()
    page = page_of(browser, served, "root", color_scheme=scheme, bypass_csp=True)  # axe is a script from outside
    take = served.newest("script")
    places = ["/", f"/takes/{take['take']}", "/batches", "/batches/1", f"/lineage/{take['video']}", "/titles/script?locale=en-US", "/statistics", "/accounts", "/log", "/me", "/nowhere"]
    for place in places:
        sent: list[int] = []

        def count(answer: Any, sent: list[int] = sent) -> None:
            if "/media/" not in answer.url:
                sent.append(int(answer.headers.get("content-length") or 0))

        page.on("response", count)
        page.goto(place)
        page.wait_for_load_state("load")
        if "takes" in place:
            page.wait_for_selector("#player[data-ready]")
            page.keyboard.press("g")
        assert sum(sent) < 100_000, place
        page.remove_listener("response", count)
        found = axe.run(page, options={"resultTypes": ["violations"]}).response["violations"]
        serious = [(rule["id"], [node["html"][:160] for node in rule["nodes"]][:3]) for rule in found if rule["impact"] in ("serious", "critical")]
        assert serious == [], place
    page.context.clear_cookies()
    page.goto("/sign-in")
    found = axe.run(page, options={"resultTypes": ["violations"]}).response["violations"]
    assert [rule["id"] for rule in found if rule["impact"] in ("serious", "critical")] == []


def test_a_decision_outlives_the_server(served: Served, settings: Settings) -> None:  # noqa: F811
    """Made while no server runs any more, it is settled by the next one; the one that runs here stands for it."""
    bo = accounts.check(served.database, "bo", PASSWORD)
    assert bo is not None
    title = next(title for title, job in served.jobs().items() if job["state"] == "flagged")
    desk.let_go(served.database, served.jobs()[title]["job"], bo)
    served.give_all_back()
    code = (
        "import sys; from db.session import Database; from db import accounts, pending; from db.pending import Wanted;"
        f"d = Database(sys.argv[1]); pending.decide(d, [{served.newest(title)['take']}], Wanted('reject', 'picture'), accounts.check(d, 'bo', '{PASSWORD}'))"
    )
    url = served.database.engine.url.render_as_string(hide_password=False)
    subprocess.run([__import__("sys").executable, "-c", code, url], check=True, cwd=Path(__file__).parent.parent)
    assert served.until(title, "rejected")["error"]["code"] == "review.rejected"
    assert open_artifacts(settings).path(served.newest(title)["video"]).is_file()
