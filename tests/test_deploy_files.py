"""Container, Compose and Kubernetes files: they fit the published schemas, and name only settings, images and files that there are."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from compose_spec import PyCompose

from flows.deploy import TEMPLATES, template
from infra.settings import Settings

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "infra" / "deploy"
MANIFESTS = sorted(path for path in DEPLOY.glob("kubernetes/**/*.yaml") if path.name != "kustomization.yaml")
KUBERNETES = "1.30"  # the oldest that we name
IMAGES = {"dubwright", "dubwright-gpu"}
OTHERS = re.compile(r"[a-z.]+/[\w./-]+:[\w.-]*\d[\w.-]*")  # a registry, a name and a pinned version


def documents(path: Path) -> list[dict[str, Any]]:
    return [tree for tree in yaml.safe_load_all(path.read_text()) if tree]


def every() -> list[dict[str, Any]]:
    return [tree for path in MANIFESTS for tree in documents(path)]


def walk(tree: Any) -> Iterator[dict[str, Any]]:
    """Every mapping of a tree."""
    if isinstance(tree, dict):
        yield tree
    for part in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        yield from walk(part)


@pytest.fixture(name="compose", scope="module")
def compose_fixture() -> dict[str, Any]:
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text())  # type: ignore[no-any-return]


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_manifests_fit_the_schemas_of_kubernetes(path: Path) -> None:
    for tree in documents(path):
        for version in (KUBERNETES, kubernetes_validate.latest_version()):
            kubernetes_validate.validate(tree, version, strict=True)
        assert tree["kind"] == "Namespace" or tree["metadata"]["namespace"] == "dubwright"


def test_kustomizations_name_files_and_things_that_exist() -> None:
    known = {(tree["kind"], tree["metadata"]["name"]) for tree in every()}
    for path in DEPLOY.glob("kubernetes/**/kustomization.yaml"):
        tree = yaml.safe_load(path.read_text())
        assert all((path.parent / name).exists() for name in tree["resources"])
        for patch in tree.get("patches", []):
            target = patch.get("target") or yaml.safe_load(patch["patch"])
            assert (target["kind"], target.get("name") or target["metadata"]["name"]) in known
    base = yaml.safe_load((DEPLOY / "kubernetes" / "kustomization.yaml").read_text())
    assert set(base["resources"]) == {path.name for path in MANIFESTS if path.parent.name == "kubernetes"}
    assert {image["name"] for image in base["images"]} == IMAGES


@pytest.mark.parametrize("pool", ["cpu", "gpu"])
def test_kubernetes_templates_make_a_valid_job(pool: str) -> None:
    from prefect.utilities.templating import apply_values

    tree = template("kubernetes", pool, Settings(image="registry.example/dubwright:1"))  # type: ignore[call-arg]
    values = {name: one["default"] for name, one in tree["variables"]["properties"].items() if "default" in one}
    job = apply_values(tree["job_configuration"]["job_manifest"], {**values, "name": "batch-1", "labels": {"a": "b"}, "command": ["prefect", "flow-run", "execute"], "env": [{"name": "A", "value": "b"}]})
    kubernetes_validate.validate(job, KUBERNETES, strict=True)
    pod = job["spec"]["template"]["spec"]
    container = pod["containers"][0]
    assert container["image"] == "registry.example/dubwright:1" + ("-gpu" if pool == "gpu" else "")
    assert container["resources"]["limits"].get("nvidia.com/gpu") == (1 if pool == "gpu" else None)
    assert pod["terminationGracePeriodSeconds"] >= 30 and any("spot" in taint["key"] for taint in pod["tolerations"])
    named = {(tree["kind"], tree["metadata"]["name"]) for tree in every()}
    assert ("ConfigMap", container["envFrom"][0]["configMapRef"]["name"]) in named and ("ServiceAccount", pod["serviceAccountName"]) in named


@pytest.mark.parametrize("name", sorted({name for names in TEMPLATES.values() for name in names.values()}))
def test_templates_use_every_variable_that_they_declare(name: str) -> None:
    tree = json.loads((DEPLOY / "pools" / name).read_text())
    used = set(re.findall(r"\{\{ (\w+) \}\}", json.dumps(tree["job_configuration"])))
    assert used == set(tree["variables"]["properties"])


def test_compose_fits_its_schema_and_starts_in_order(compose: dict[str, Any]) -> None:
    filled = re.sub(r"\$\{\w+(?::-([^}]*)|:\?[^}]*)\}", lambda found: "filled" if found[1] is None else found[1], json.dumps(compose))
    PyCompose.from_json(filled).validate()
    services = compose["services"]
    assert {"ledger", "prefect-database", "store", "prefect", "deploy", "worker-cpu", "worker-gpu"} <= services.keys()
    for name, service in services.items():
        for other, how in service.get("depends_on", {}).items():
            assert how["condition"] == "service_completed_successfully" or "healthcheck" in services[other], f"{name} waits for the health of {other}"
        for volume in service.get("volumes", []):
            assert volume.startswith("$") or volume.split(":")[0] in compose["volumes"]
        if service["image"].startswith("${DUBWRIGHT_IMAGE"):
            assert service["read_only"] and service["cap_drop"] == ["ALL"] and (DEPLOY / service["build"]["context"] / service["build"]["dockerfile"]).exists()
        else:
            assert OTHERS.fullmatch(service["image"]), f"{name}: {service['image']} is not pinned"


def test_only_settings_that_exist_are_set(compose: dict[str, Any]) -> None:
    settings = {f"DUBWRIGHT_{name.upper()}" for name in Settings.model_fields}
    written = {path: path.read_text() for path in [*DEPLOY.rglob("*.yaml"), *DEPLOY.rglob("*.json"), DEPLOY / "Containerfile", ROOT / "prefect.yaml"]}
    for path, text in written.items():
        assert set(re.findall(r"\bDUBWRIGHT_[A-Z0-9_]*[A-Z0-9]", text)) - settings == set(), path.name
    import prefect.settings

    entries = {"PREFECT_PASSWORD", "PREFECT_DATABASE_URL"}  # of secrets
    for path, text in written.items():
        for name in set(re.findall(r"\bPREFECT_[A-Z0-9_]*[A-Z0-9]", text)) - entries - {"PREFECT_HOME"}:
            assert hasattr(prefect.settings, name), f"{path.name}: {name}"


def test_no_secret_is_written_down(compose: dict[str, Any]) -> None:
    assert not any(tree["kind"] == "Secret" for tree in every())
    for mapping in walk([every(), compose]):
        for name, value in mapping.items():
            if re.search(r"PASSWORD|SECRET_ACCESS_KEY|NOTIFY", name) and isinstance(value, str):
                assert value.startswith("${"), name
        if re.search(r"PASSWORD|SECRET|ACCESS_KEY", str(mapping.get("name"))):
            assert "value" not in mapping or "$(" in mapping["value"], mapping["name"]


def test_containers_are_pinned_guarded_and_probed() -> None:
    for tree in every():
        for container in (part for mapping in walk(tree) for part in mapping.get("containers", [])):
            assert container["image"] in IMAGES or OTHERS.fullmatch(container["image"]), container["image"]
            assert container["securityContext"]["allowPrivilegeEscalation"] is False and "requests" in container["resources"] and "memory" in container["resources"]["limits"]
            if tree["kind"] in ("Deployment", "StatefulSet"):
                assert "livenessProbe" in container and {"readinessProbe", "startupProbe"} & container.keys()
            pod = tree["spec"]["template"]["spec"]
            assert pod["securityContext"]["runAsNonRoot"] is True
            mounted = {volume["name"] for volume in [*pod.get("volumes", []), *(claim["metadata"] for claim in tree["spec"].get("volumeClaimTemplates", []))]}
            assert {mount["name"] for mount in container.get("volumeMounts", [])} <= mounted
    components = {tree["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/component"] for tree in every() if "template" in tree.get("spec", {})}
    for tree in every():
        if tree["kind"] in ("NetworkPolicy", "Service", "PodDisruptionBudget"):
            for found in walk(tree):
                one, several = found.get("app.kubernetes.io/component"), found.get("values", [])
                assert {*several, *([one] if one else [])} <= components, tree["metadata"]["name"]


def test_the_container_file_copies_what_there_is() -> None:
    text = (DEPLOY / "Containerfile").read_text()
    for line in re.findall(r"^COPY (?!--from)(.+)$", text, re.MULTILINE):
        assert all((ROOT / name).exists() for name in line.split()[:-1]), line
    flavours = {"cpu", "gpu"}
    assert "constraints-${FLAVOUR}.txt" in text and all((ROOT / f"constraints-{name}.txt").exists() for name in flavours)
    assert set(re.findall(r"FLAVOUR[:=] ?(\w+)", text + (DEPLOY / "compose.yaml").read_text())) == flavours
    wheel = re.search(r"^include = (\[.+\])$", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert wheel and {name.strip("/") for name in json.loads(wheel[1])} <= set(re.findall(r"[\w.]+", text))
    assert text.rindex("\nUSER 10001:10001") > text.rindex("\nFROM ") and "ENV AWS" not in text
