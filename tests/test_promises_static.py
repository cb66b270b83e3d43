"""P16: no shell, no pickle, no network at render; and imports run one way."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("kernels", "models", "db", "infra", "tasks", "flows", "api", "review")
ALLOWED = {
    "kernels": set(), "infra": set(), "db": {"infra"}, "models": {"kernels", "infra"}, "tasks": {"kernels", "models", "db", "infra"},
    "flows": {"tasks", "db", "infra"}, "api": {"flows", "tasks", "db", "infra"}, "review": {"db", "infra"},
}  # fmt: skip
READERS = ("models/training/loop.py", "models/unpickle.py")
PICKLED = ("pickle", "cloudpickle", "dill", "shelve", "marshal", "joblib", "jsonpickle")
RUN = ("os.system", "os.popen", "eval", "exec", "compile", "__import__", "subprocess.getoutput", "subprocess.getstatusoutput", "os.execl", "os.execv", "os.execvp", "os.spawnl", "os.spawnv", "pty.spawn")
STARTS = ("subprocess.run", "subprocess.Popen", "subprocess.check_output", "subprocess.check_call", "subprocess.call")
# Whose code opens connections: to Postgres and S3 (db/session.py and infra/store.py, by their own libraries), and to these.
CALLERS = {
    "infra/outbound.py": "webhooks", "infra/mend.py": "the embedded Postgres' own socket", "infra/tracing.py": "the collector of traces", "flows/workers.py": "this machine's name", "review/openid.py": "the identity provider", "flows/conductor.py": "Prefect",
    "cli_serve.py": "its own port", "db/workers.py": "this machine's name", "infra/store.py": "S3", "infra/guard/door.py": "a pair of its own, to the process that looks at media", "infra/guard/helper.py": "the other end of it",
}
CONNECTING = ("socket", "http.client", "urllib.request", "urllib3", "httpx", "requests", "aiohttp", "ftplib", "smtplib", "telnetlib", "boto3", "websockets", "paramiko")
FETCHING = ("torch.hub", "huggingface_hub", "transformers", "timm", "gdown", "modelscope", "kagglehub", "pooch", "torchvision.models")


def sources(*rooms: str) -> Iterator[tuple[str, ast.Module]]:
    for path in [p for room in rooms for p in sorted((ROOT / room).rglob("*.py"))] + sorted(ROOT.glob("*.py")):
        yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text())


def test_no_shell_no_pickle_no_eval() -> None:
    found = []
    for name, tree in sources(*ROOMS, "benchmarks"):
        for node in ast.walk(tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""]
                found += [f"{name}:{node.lineno} imports {n}" for n in names if n.split(".")[0] in PICKLED]
            if not isinstance(node, ast.Call):
                continue
            call = ast.unparse(node.func)
            words = {k.arg: ast.unparse(k.value) for k in node.keywords}
            if call in RUN or words.get("shell") not in (None, "False") or words.get("allow_pickle") not in (None, "False"):
                found.append(f"{name}:{node.lineno} {call}")
            if call in ("np.load", "numpy.load") and words.get("allow_pickle") != "False":
                found.append(f"{name}:{node.lineno} {call}")
            if call in STARTS and node.args and isinstance(node.args[0], ast.Constant | ast.JoinedStr):
                found.append(f"{name}:{node.lineno} {call} of a text instead of arguments")
            if call in ("yaml.load", "yaml.unsafe_load", "yaml.full_load", "yaml.load_all"):
                found.append(f"{name}:{node.lineno} {call}")
            if call == "torch.load" and (words.get("weights_only") != "True" or name not in READERS):
                found.append(f"{name}:{node.lineno} torch.load")
    assert found == []


def test_only_these_open_connections_and_nothing_is_fetched() -> None:
    """No engine, stage or kernel can: what renders has no way out but the ledger and the store."""
    found, callers = [], set()
    for name, tree in sources(*ROOMS):
        for node in ast.walk(tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or "", *(f"{node.module}.{a.name}" for a in node.names)]
                found += [f"{name}:{node.lineno} fetches by {n}" for n in names if n.startswith(FETCHING)]
                callers |= {name for n in names if any(n == one or n.startswith(f"{one}.") for one in CONNECTING)}
            if isinstance(node, ast.Call) and ast.unparse(node.func).startswith(("torch.hub.", "nltk.download")):
                found.append(f"{name}:{node.lineno} {ast.unparse(node.func)}")
    assert found == [] and callers == set(CALLERS)


def test_imports_run_one_way() -> None:
    found = []
    for name, tree in sources(*ROOMS):
        room = name.split("/")[0]
        for node in ast.walk(tree):
            if room in ALLOWED and isinstance(node, ast.Import | ast.ImportFrom):
                names = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""]
                other = {n.split(".")[0] for n in names} & ({*ROOMS, "cli"} - {room})
                found += [f"{name}:{node.lineno} {room} imports {o}" for o in other if o not in ALLOWED[room]]
    assert found == []


@pytest.mark.parametrize("module", ["cli", "flows.run", "flows.batch", "flows.train", "flows.calibrate", "api.app", "db.ledger", "infra.store", "review.app"])
def test_doors_open_without_torch(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=120, check=False).returncode == 0


BLOCKED = """
import socket
real = socket.socket.connect
def connect(self, address):
    if self.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "::1", "localhost"):
        raise AssertionError(f"a connection to {address} was tried")
    return real(self, address)
socket.socket.connect = connect
socket.getaddrinfo = lambda *a, **k: (_ for _ in ()).throw(AssertionError(f"a name was looked up: {a[0]}"))
from pathlib import Path
from benchmarks import pipeline
from infra.telemetry import Stopwatch
with pipeline.scratch() as folder:
    print(pipeline.make(pipeline.speech_of(3.0), pipeline.portrait(), folder, Stopwatch()) > 1)
"""


def test_rendering_touches_no_network() -> None:
    surroundings = {k: v for k, v in os.environ.items() if "proxy" not in k.lower()}
    done = subprocess.run([sys.executable, "-c", BLOCKED], cwd=ROOT, env=surroundings, capture_output=True, text=True, timeout=300, check=False)
    assert done.stdout.strip() == "True", done.stderr[-2000:]
