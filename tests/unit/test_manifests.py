"""The units for systemd and the base for Kubernetes fit the portal."""

from __future__ import annotations

import configparser
from dataclasses import fields
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml
from tornado.routing import URLSpec

from portal import app
from portal.config.settings import Settings, load_settings
from portal.ops import processes
from portal.ops.service_manager import PassedSockets
from portal.routes import routes
from portal.tenancy.loading import read_tenant

ROOT = Path(__file__).resolve().parents[2]
SYSTEMD = ROOT / "deploy" / "systemd"
BASE = ROOT / "deploy" / "kubernetes" / "base"
SECONDS_OF_A_STOP = 45
PROBES = {"startup": "/healthz", "liveness": "/healthz", "readiness": "/readyz"}


class _Unit(configparser.RawConfigParser):
    def optionxform(self, optionstr: str) -> str:
        return optionstr


def unit(name: str) -> _Unit:
    read = _Unit(strict=False, interpolation=None)
    read.read_string((SYSTEMD / name).read_text())
    return read


# --- systemd


def test_the_sockets_have_the_names_of_the_settings_that_they_replace() -> None:
    sockets = {path.name: unit(path.name) for path in SYSTEMD.glob("*.socket")}
    names = [one["Socket"]["FileDescriptorName"] for one in sockets.values()]
    assert sorted(names) == sorted(one.name for one in fields(PassedSockets))
    assert sorted(unit("portal@.service")["Service"]["Sockets"].split()) == sorted(sockets)
    assert {one["Socket"]["Service"] for one in sockets.values()} == {"portal@blue.service"}


def test_systemd_waits_for_a_graceful_stop_and_signals_the_supervisor_only() -> None:
    service = unit("portal@.service")["Service"]
    assert int(service["TimeoutStopSec"]) >= max(SECONDS_OF_A_STOP, processes._LONGEST_STOP)
    after_requests = max(app._PENDING_TOKENS_SECONDS, app._BACKGROUND_SECONDS)
    assert app._DRAIN_SECONDS + after_requests + 3 < processes._LONGEST_STOP  # or it is killed
    assert (service["Type"], service["KillMode"], service["NotifyAccess"]) == ("notify", "mixed", "main")
    assert service["ExecReload"].endswith("-HUP $MAINPID")
    assert service["ExecStart"].endswith("/portal serve --config /etc/portal/portal.yaml")


def test_the_service_may_write_to_its_state_only_and_has_no_privilege() -> None:
    service = unit("portal@.service")["Service"]
    assert service["ProtectSystem"] == "strict"
    assert "ReadWritePaths" not in service
    assert service["StateDirectory"] == "portal"
    assert service["CapabilityBoundingSet"] == ""
    assert service["NoNewPrivileges"] == "true"
    assert service["User"] == "portal"


def test_the_service_sees_what_the_portal_reads_of_the_system() -> None:
    """`sessions/lease_owners.py` needs /proc/sys/kernel/random/boot_id, and processes of the same user."""
    service = unit("portal@.service")["Service"]
    assert "ProcSubset" not in service
    assert service["ProtectProc"] == "invisible"


# --- Kubernetes


def objects() -> dict[str, dict[str, Any]]:
    names = yaml.safe_load((BASE / "kustomization.yaml").read_text())["resources"]
    read = [yaml.safe_load((BASE / name).read_text()) for name in names]
    return {one["kind"]: one for one in read}


def pod() -> dict[str, Any]:
    spec: dict[str, Any] = objects()["Deployment"]["spec"]["template"]["spec"]
    return spec


def container() -> dict[str, Any]:
    (found,) = pod()["containers"]
    assert isinstance(found, dict)
    return found


def settings() -> Settings:
    return load_settings(BASE / "config" / "portal.yaml", {})


MANIFESTS = [
    *(path for path in sorted(BASE.glob("*.yaml")) if path.name != "kustomization.yaml"),
    BASE.parent / "secrets.example.yaml",
]


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_every_manifest_follows_the_schema_of_its_kind(path: Path) -> None:
    for one in yaml.safe_load_all(path.read_text()):
        kubernetes_validate.validate(one, "1.32", strict=True)


def test_the_schemas_find_a_misspelt_key() -> None:
    broken = objects()["Deployment"]
    broken["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, "1.32", strict=True)


def test_the_base_has_every_manifest_and_every_file() -> None:
    kustomization = yaml.safe_load((BASE / "kustomization.yaml").read_text())
    assert sorted(kustomization["resources"]) == sorted(
        path.name for path in BASE.glob("*.yaml") if path.name != "kustomization.yaml"
    )
    files = [name for one in kustomization["configMapGenerator"] for name in one["files"]]
    assert [name for name in files if not (BASE / name).is_file()] == []
    volumes = {one["configMap"]["name"] for one in pod()["volumes"] if "configMap" in one}
    assert volumes == {one["name"] for one in kustomization["configMapGenerator"]}
    images = {one["name"] for one in kustomization["images"]}
    assert images == {one["image"] for one in [*pod()["containers"], *pod()["initContainers"]]}


def test_every_selector_selects_exactly_the_pods_of_the_portal() -> None:
    made = objects()
    labels = made["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert labels
    (spread,) = pod()["topologySpreadConstraints"]
    assert [
        made["Deployment"]["spec"]["selector"]["matchLabels"],
        made["Service"]["spec"]["selector"],
        made["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        made["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
        spread["labelSelector"]["matchLabels"],
    ] == [labels] * 5
    target = made["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", made["Deployment"]["metadata"]["name"])


def test_the_ports_are_those_of_the_settings_and_have_the_names_that_others_use() -> None:
    ports = {one["name"]: one["containerPort"] for one in container()["ports"]}
    assert settings().metrics_listen is not None
    listens = [settings().listen, settings().metrics_listen or ""]
    assert [int(listen.rpartition(":")[2]) for listen in listens] == [ports["http"], ports["metrics"]]
    rules = objects()["NetworkPolicy"]["spec"]["ingress"]
    used = {port["port"] for rule in rules for port in rule["ports"]}
    used |= {port["targetPort"] for port in objects()["Service"]["spec"]["ports"]}
    used |= {
        container()[f"{probe}Probe"]["httpGet"]["port"] for probe in ("startup", "liveness", "readiness")
    }
    assert used == ports.keys()


def test_the_probes_ask_for_addresses_of_the_portal() -> None:
    patterns = [rule.regex for rule in routes() if isinstance(rule, URLSpec)]
    for probe, path in PROBES.items():
        assert container()[f"{probe}Probe"]["httpGet"]["path"] == path
        assert [pattern for pattern in patterns if pattern.fullmatch(path)]


def test_a_pod_is_given_the_time_of_a_graceful_stop() -> None:
    command, seconds = container()["lifecycle"]["preStop"]["exec"]["command"]
    assert command == "sleep"
    assert pod()["terminationGracePeriodSeconds"] >= int(seconds) + SECONDS_OF_A_STOP


def test_a_pod_has_no_privilege_and_a_read_only_file_system() -> None:
    assert pod()["automountServiceAccountToken"] is False
    assert pod()["securityContext"]["runAsNonRoot"] is True
    assert f"USER {pod()['securityContext']['runAsUser']}:" in (ROOT / "Dockerfile").read_text()
    for one in [*pod()["containers"], *pod()["initContainers"]]:
        security = one["securityContext"]
        assert security["readOnlyRootFilesystem"] is True
        assert security["allowPrivilegeEscalation"] is False
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert "memory" in one["resources"]["limits"]


def test_what_the_settings_name_is_mounted() -> None:
    mounts = {one["mountPath"]: one for one in container()["volumeMounts"]}
    assert str(settings().tenants) in mounts
    assert str(settings().keys.parent) in mounts
    assert not mounts[str(settings().keys.parent)].get("readOnly", False)
    (init,) = pod()["initContainers"]
    assert init["command"] == [
        "install",
        "-m",
        "0600",
        "/run/secrets/key-ring/keys.json",
        str(settings().keys),
    ]


def test_the_settings_and_the_tenant_are_valid_and_their_variables_are_in_the_secret() -> None:
    (secrets, _) = yaml.safe_load_all((BASE.parent / "secrets.example.yaml").read_text())
    environ = dict(secrets["stringData"])
    tenants = {name: value for name, value in environ.items() if not name.startswith("PORTAL_")}
    tenant = read_tenant(
        BASE / "config" / "tenants" / "acme.yaml", allow_private_networks=False, environ=tenants
    )
    assert tenant.tenant.default_provider.client_secret is not None
    made = load_settings(BASE / "config" / "portal.yaml", environ)
    assert made.database == environ["PORTAL_DATABASE"]
    assert container()["envFrom"] == [{"secretRef": {"name": secrets["metadata"]["name"]}}]


def test_the_scaling_rule_uses_a_metric_of_the_portal() -> None:
    metrics = objects()["HorizontalPodAutoscaler"]["spec"]["metrics"]
    (name,) = [one["pods"]["metric"]["name"] for one in metrics if one["type"] == "Pods"]
    assert f'"{name}"' in (ROOT / "portal" / "ops" / "metrics.py").read_text()
