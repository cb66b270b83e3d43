"""Pages of titles: versions in time, what changed between two of them cue by cue, and a lexicon of what reviewers entered that the next manifest takes."""

import io
import shutil
from datetime import timedelta
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from db import accounts, ledger, pending, titles
from db.pending import Wanted
from db.session import Database
from infra.artifacts import Artifacts, open_artifacts
from infra.differences import words
from infra.settings import Settings
from ledger_cases import database, server, url, verdict  # noqa: F401 (some are fixtures)
from review.app import create_desk
from tasks import catalogue
from tasks.scripts import Reading, open_cues
from tasks.speech import synthesise
from tasks.speech.lexicon import read_lexicon
from tasks.values import save_speech

FIRST = "WEBVTT\n\n00:00.000 --> 00:01.000\n<v Ana>Hello there.\n\n00:01.200 --> 00:02.000\n<v Ana>Good day.\n\n00:02.500 --> 00:03.000\n<v Ana>Bye.\n"
SECOND = FIRST.replace("Good day.", "Good night, all.").replace("00:02.500 --> 00:03.000", "00:02.600 --> 00:03.000")
FILE = "word;say;lang\nGirona;/dʒɪˈroʊnə/;en\nDubwright;dub right;\nnight;nait;en-US\nnight;nacht;de\n"


class Film:
    """A desk on a ledger with versions of one title: their speech is made, their pictures are not."""

    def __init__(self, database: Database, artifacts: Artifacts, folder: Path, settings: Settings) -> None:  # noqa: F811
        self.database, self.artifacts, self.folder, self.settings, self.number = database, artifacts, folder, settings, 0

    def put(self, name: str, data: bytes | str) -> ledger.ArtifactRow:
        path = self.folder / name
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        kept = self.artifacts.put(path, path.suffix)
        return ledger.ArtifactRow(kept.sha256, name, path.stat().st_size, kept.key, ())

    def version(self, script: str, locale: str = "en-US", lexicon: bytes | str = "", master: str = "master.mp4") -> tuple[int, int]:
        """Another version in a batch of its own, flagged; its (job, take)."""
        self.number += 1
        (self.folder / "s.vtt").write_text(script)
        save_speech(self.folder / "speech.npz", synthesise(open_cues(self.folder / "s.vtt", Reading()).cues, locale, voices={"Ana": f"espeak:{locale.lower()}" if locale != "es-ES" else "espeak:es"}))
        rows = {role: self.put(name, data) for role, name, data in (("video", master, f"film {master}"), ("script", "s.vtt", script), *([("lexicon", "words.csv", lexicon)] if lexicon else []))}
        speech = self.put("speech.npz", (self.folder / "speech.npz").read_bytes())
        film = self.put("render.mp4", f"render {self.number}")
        inputs = {role: {"sha256": row.sha256, "size": row.size, "suffix": Path(row.kind).suffix, "place": f"s3://in/{row.kind}"} for role, row in rows.items()}
        spec = ledger.JobSpec(f"k{self.number}", "My film (2)", locale, "lipmemory", "compact", {"inputs": inputs, "voice": "espeak:en" if self.number > 1 else ""})
        held = ledger.lease(self.database, ledger.submit(self.database, f"b{self.number}", f"night {self.number}", "out", [spec]).batch_id, "w", 60)
        assert held is not None
        ledger.record_artifacts(self.database, held, [*rows.values(), speech])
        made = ledger.ArtifactRow(film.sha256, film.kind, film.size, film.key, ((speech.sha256, "speech"), (rows["video"].sha256, "video")))
        weights = ({"sha256": "e" * 64, "engine": "lipmemory", "name": "compact", "licence": "Apache-2.0", "licence_class": "open"},)
        take = ledger.record_take(self.database, held, ledger.TakeRecord(1, "lipmemory", "compact", {"fps": 25, "windows": [2, 3]}, "c", {"host": "h"}, {"render": 1.0}, made, weights, ((0, 25, 1.0),)), verdict("flag"))
        ledger.finish(self.database, held, "flagged", {"code": "gate.flag"})
        return held.job_id, take

    def says(self, take: int, by: accounts.Person, **lexicon: str) -> None:
        """A reviewer asks for another take, in which words are said otherwise."""
        pending.decide(self.database, [take], Wanted("again", changes={"lexicon": lexicon}), by, timedelta(0))
        pending.settle(self.database)


@pytest.fixture(name="film")
def film_fixture(database: Database, tmp_path: Path) -> Film:  # noqa: F811
    settings = Settings(home=tmp_path / "home")  # type: ignore[call-arg]  # every field has a default
    return Film(database, open_artifacts(settings), tmp_path, settings)


def reader(film: Film) -> tuple[TestClient, accounts.Person]:
    person = accounts.add(film.database, "ana", "reviewer")
    token, _ = accounts.sign_in(film.database, person, "test")
    made = TestClient(create_desk(film.database, film.artifacts, film.settings), base_url="http://desk.test", follow_redirects=False, headers={"accept": "text/html"})
    made.cookies.set("desk", token)
    return made, person


def test_versions_of_a_title_and_what_changed_between_two_cue_by_cue(film: Film) -> None:
    (one, first), (two, second), (three, _) = film.version(FIRST), film.version(SECOND), film.version(SECOND, "es-ES", master="other.mp4")
    page, _ = reader(film)
    told = page.get("/titles/My film (2)").text
    assert all(link in told for link in (f'href="/takes/{second}"', 'href="/batches/2"', "2 / 3", "master.mp4", "other.mp4", f"before={one}&amp;after={two}#compared", "en-US · 2"))
    assert titles.locales(film.database, "My film (2)") == {"en-US": {"versions": 2, "delivered": 0}, "es-ES": {"versions": 1, "delivered": 0}}
    assert [(row["number"], row["batch_name"]) for row in titles.versions(film.database, "My film (2)", "en-US", 1)] == [(2, "night 2")]  # the newest, counted from the first
    told = page.get(f"/titles/My film (2)?locale=en-US&before={one}&after={two}").text
    assert "2 cues differ." in told and "2 of 3 windows were rendered for it." in told and "es-ES" not in told
    assert "<del>day</del>" in told and "<ins>night, all</ins>" in told and "0:02.5–0:03.0" in told and "0:02.6–0:03.0" in told and "espeak:en" in told
    by_command = catalogue.compared(catalogue.versions(film.database, film.artifacts, "My film (2)", "en-US"), one, two)
    assert [cue["place"] for cue in by_command["cues"]] == [2, 3]
    assert page.get(f"/titles/My film (2)?locale=en-US&before={one}&after={three}").status_code == 404
    assert page.get("/titles/nothing").status_code == page.get("/titles/My film (2)?locale=xx").status_code == 404
    assert 'href="/titles/My%20film%20%282%29?locale=en-US"' in page.get(f"/takes/{first}").text and "/titles/My%20film" in page.get(f"/lineage/{film.artifacts.put(film.folder / 'render.mp4', '.mp4').sha256}").text
    shutil.rmtree(film.artifacts.cache, ignore_errors=True)
    gone = titles.versions(film.database, "My film (2)", "en-US", 1)[0]["take"]["speech"]
    film.artifacts.store.delete(f"sha256/{gone[:2]}/{gone}")
    assert "not kept any more" in page.get(f"/titles/My film (2)?locale=en-US&before={one}&after={two}").text


def test_what_reviewers_said_of_words_becomes_a_lexicon_that_the_next_manifest_takes(film: Film) -> None:
    page, ana = reader(film)
    (_, first), (_, second), (_, other) = film.version(FIRST, lexicon=FILE), film.version(SECOND, lexicon=FILE), film.version(FIRST, "es-ES")
    assert "lexicon.csv" not in page.get(f"/takes/{first}").text  # nobody entered a word yet
    film.says(first, ana, night="naɪt", Hello="hɛˈloʊ")
    film.says(second, ana, night="/nɪt/", **{"=SUM(A1)": "sʌm"})
    film.says(other, ana, night="ˈnotʃe")
    answer = page.get("/titles/My film (2)/lexicon.csv?locale=en-US")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8" and 'filename="lexicon-My_film__2_' in answer.headers["content-disposition"]
    (film.folder / "next.csv").write_bytes(answer.content)
    found = {entry.written: entry.ipa or entry.spoken for entry in read_lexicon(film.folder / "next.csv", "en-US").entries}
    assert found == {"night": "nɪt", "Hello": "hɛˈloʊ", "=SUM(A1)": "sʌm", "Girona": "dʒɪˈroʊnə", "Dubwright": "dub right"}
    assert "\n=" not in answer.text and ",=" not in answer.text  # nothing that a spreadsheet would run
    told = page.get(f"/takes/{first}").text.partition("How words are said</h2>")[2].partition("</section>")[0]
    assert "nɪt" in told and "naɪt" not in told and "lexicon.csv?locale=en-US" in told and "Dubwright,dub right" in told
    film.version(FIRST, lexicon="word,say\nCaf\xe9,x\n".encode("latin-1"))  # a file that is not UTF-8 is left out, not spoilt
    (film.folder / "next.csv").write_bytes(page.get("/titles/My film (2)/lexicon.csv?locale=en-US").content)
    assert {entry.written for entry in read_lexicon(film.folder / "next.csv", "en-US").entries} == {"night", "Hello", "=SUM(A1)"}
    assert page.get("/titles/My film (2)/lexicon.csv?locale=fr-FR").status_code == 404
    assert io.StringIO(page.get("/titles/My film (2)/lexicon.csv?locale=es-ES").text).readlines()[1].strip() == "night,,ˈnotʃe,es-ES"


def test_words_that_differ_are_found_in_scripts_with_and_without_spaces() -> None:
    assert words("Good day.", "Good night.") == ([(False, "Good "), (True, "day"), (False, ".")], [(False, "Good "), (True, "night"), (False, ".")])
    assert words("東京へ行く", "京都へ行く")[1] == [(False, "京"), (True, "都"), (False, "へ行く")]
    for pair in (("", "x"), ("مرحبا بك", "مرحبا بكم"), ("กำลังไป", "กำลังมา"), ("cafe\u0301 a", "cafe a")):
        assert tuple("".join(piece for _, piece in side) for side in words(*pair)) == pair
