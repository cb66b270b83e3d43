"""The verb that checks files before they leave: qc. cli.py adds it to the command."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from cli_common import Json, known_settings
from console import EXIT_JOBS, Voice


def qc(
    file: Annotated[Path, typer.Argument(help="A video as it was delivered or found, or the master playlist of an HLS package.", show_default=False)],
    source: Annotated[Path | None, typer.Option(help="The video that it is a dub of: as many pictures, black and still where that is.")] = None,
    captions: Annotated[Path | None, typer.Option(help="Its captions; the .vtt beside it when left out.")] = None,
    output: Annotated[Path | None, typer.Option(help="Write the report into FILE.json, .csv and .html; the suffix given chooses one.")] = None,
    loudness: Annotated[float | None, typer.Option(help="Integrated loudness that is wanted, in LUFS, as -23.")] = None,
    true_peak: Annotated[float, typer.Option(help="Highest true peak, in dBTP.")] = -1.0,
    no_sync: Annotated[bool, typer.Option("--no-sync", help="Leave the sync score out, which takes longest.")] = False,
    as_json: Json = False,
) -> int:
    """Check a file: sync, marks, black and frozen pictures, loudness, captions, format, each against its limit. Ends with 3 where one fails."""
    from tasks.deliverables.asked import QcRow
    from tasks.qc import anyfile
    from tasks.qc.report import written

    voice, known = Voice(as_json), known_settings()
    if file.suffix.lower() == ".m3u8":
        return _package(anyfile.examine_package(file, known), voice)
    limits = QcRow(loudness=loudness, true_peak=true_peak)
    report = anyfile.examine_file(file, known, limits, source=source, captions=captions, sync=not no_sync)
    paths = _paths(output)
    for path in paths:
        path.write_bytes(written(report, path.suffix.lstrip(".")))
    voice.result(report)
    voice.table("", ["", "check", "", "found", "limit"], [[check["group"], check["name"], check["state"], check["value"], check["limit"]] for check in report["checks"]])
    for check in report["checks"]:
        if check["state"] == "fail" and check["note"]:
            voice.plain(f"{check['name']}: {check['note']}")
    voice.plain(f"\n{file.name}: {report['verdict']}" + "".join(f"\nreport: {path}" for path in paths))
    return 0 if report["verdict"] == "pass" else EXIT_JOBS


def _package(told: dict[str, Any], voice: Voice) -> int:
    voice.result(told)
    for fault in told["faults"]:
        voice.plain(fault)
    voice.plain(f"{told['file']}, {len(told['files'])} files: {told['verdict']}")
    return 0 if told["verdict"] == "pass" else EXIT_JOBS


def _paths(output: Path | None) -> list[Path]:
    """The files of a report; one where the name tells which."""
    if output is None:
        return []
    if output.suffix in (".json", ".csv", ".html"):
        return [output]
    return [output.with_name(f"{output.name}.{kind}") for kind in ("json", "csv", "html")]


def add(app: typer.Typer, verb: Callable[[Callable[..., Any]], Callable[..., None]]) -> None:
    """Add the verb to a command; `verb` tells its errors."""
    app.command()(verb(qc))
