"""The example for Kubernetes: against KubeRay's schema, and what no schema can tell."""

import gzip
import json
import re
import tomllib
from collections.abc import Callable, Generator, Iterator
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator, ValidationError
from jsonschema.validators import extend
from packaging.requirements import Requirement
from support.commands import ROOT

from tools import kuberay_schema as tool

Json = dict[str, Any]

FOLDER = ROOT / "examples" / "kuberay"
FIXTURE = json.loads(gzip.decompress(tool.FIXTURE.read_bytes()))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PAGE = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
DOCKERFILE = (FOLDER / "Dockerfile").read_text(encoding="utf-8")


def pinned(extra: str) -> str:
    """Return the version of the first package of an extra."""
    (specifier,) = Requirement(PROJECT["optional-dependencies"][extra][0]).specifier
    return specifier.version


def documents() -> list[Json]:
    """Return the parts of the example; nothing in them is shared, as it is in YAML."""
    parts = list(yaml.safe_load_all((FOLDER / "cluster.yaml").read_text(encoding="utf-8")))
    return json.loads(json.dumps(parts))


def of_kind(kind: str, parts: list[Json]) -> Json:
    (part,) = (each for each in parts if each["kind"] == kind)
    return part


def different(
    validator: Any, keys: list[str], entries: Any, schema: Any
) -> Generator[ValidationError]:
    """Check that the entries of a list differ in some fields."""
    found = [tuple(entry.get(key) for key in keys) for entry in entries]
    for each in {each for each in found if found.count(each) > 1}:
        yield ValidationError(f"{each} is there more than once")


Validator = extend(Draft202012Validator, {tool.LIST_KEYS: different})


def schemas() -> dict[str, Json]:
    """Return a schema for each kind of document.

    KubeRay's definition contains the parts of Kubernetes's own that the others consist of.
    """
    cluster = FIXTURE["schema"]
    spec = cluster["properties"]["spec"]["properties"]
    pod = spec["headGroupSpec"]["properties"]["template"]["properties"]["spec"]["properties"]
    volume = pod["volumes"]["items"]["properties"]
    claim = volume["ephemeral"]["properties"]["volumeClaimTemplate"]["properties"]["spec"]
    rules = spec["networkPolicy"]["properties"]["head"]["properties"]
    peer = rules["ingressRules"]["items"]["properties"]["from"]["items"]["properties"]
    policy = {
        "type": "object",
        "required": ["podSelector"],
        "properties": {
            "podSelector": peer["podSelector"],
            "policyTypes": {"type": "array", "items": {"enum": ["Ingress", "Egress"]}},
            "ingress": rules["ingressRules"],
            "egress": rules["egressRules"],
        },
        "additionalProperties": False,
    }
    return {
        "RayCluster": cluster,
        "PersistentVolumeClaim": resource("v1", claim),
        "NetworkPolicy": resource("networking.k8s.io/v1", policy),
    }


def resource(version: str, spec: Json) -> Json:
    return {
        "type": "object",
        "required": ["apiVersion", "kind", "metadata", "spec"],
        "properties": {
            "apiVersion": {"const": version},
            "kind": {"type": "string"},
            "metadata": tool.METADATA,
            "spec": spec,
        },
        "additionalProperties": False,
    }


SCHEMAS = schemas()


def pods(cluster: Json) -> list[Json]:
    """Return the specifications of the pods: the head's, then the workers'."""
    groups = [cluster["spec"]["headGroupSpec"], *cluster["spec"]["workerGroupSpecs"]]
    return [group["template"]["spec"] for group in groups]


def by_schema(parts: list[Json]) -> Iterator[str]:
    for part in parts:
        for error in Validator(SCHEMAS[part["kind"]]).iter_errors(part):
            yield f"{part['kind']} {error.json_path}: {error.message}"


def beyond_the_schema(parts: list[Json]) -> list[str]:
    """Return what would be wrong on a cluster, and is right by the schema."""
    cluster = of_kind("RayCluster", parts)
    claim = of_kind("PersistentVolumeClaim", parts)
    policy = of_kind("NetworkPolicy", parts)["spec"]
    spec = cluster["spec"]
    containers = [container for pod in pods(cluster) for container in pod["containers"]]
    images = [container.get("image", "") for container in containers]
    variables = [
        {each["name"]: each.get("value") for each in container.get("env", [])}
        for container in containers
    ]
    mounts = [
        {each["mountPath"]: claim_of(pod, each["name"]) for each in container["volumeMounts"]}
        for pod in pods(cluster)
        for container in pod["containers"]
    ]
    selected = {"matchLabels": {"ray.io/cluster": cluster["metadata"]["name"]}}
    inside = [{"podSelector": selected}]
    ports = {(each["port"], each["protocol"]) for each in policy["egress"][-1].get("ports", [])}
    wrong = {
        "rayVersion is not the version that the project needs": (
            spec["rayVersion"] != pinned("scale")
        ),
        "no token is asked for": spec.get("authOptions", {}).get("mode") != "token",
        "the token is not KubeRay's": any(
            each.keys() & {"RAY_AUTH_MODE", "RAY_AUTH_TOKEN"} for each in variables
        ),
        "the head computes": spec["headGroupSpec"]["rayStartParams"].get("num-cpus") != "0",
        "a container has no image": not all(images),
        "an image has another version of Ray": any(
            image and not image.endswith(f":ray-{pinned('scale')}") for image in images
        ),
        "usage reports are on": any(
            each.get("RAY_USAGE_STATS_ENABLED") != "0" for each in variables
        ),
        "a report is sent that there are no reports": any(
            each.get("RAY_USAGE_STATS_REPORT_URL") != "http://127.0.0.1:9" for each in variables
        ),
        "Ray counts on more than is requested": any(
            each["resources"]["requests"] != each["resources"]["limits"] for each in containers
        ),
        "the data is not at the same path everywhere": any(
            each != {"/data": claim["metadata"]["name"]} for each in mounts
        ),
        "one node alone can mount the data": claim["spec"]["accessModes"] != ["ReadWriteMany"],
        "others reach the cluster": (
            policy["podSelector"] != selected or policy["ingress"] != [{"from": inside}]
        ),
        "the cluster reaches others": (
            policy["egress"][:-1] != [{"to": inside}] or ports != {(53, "UDP"), (53, "TCP")}
        ),
        "the rules hold in one direction only": policy["policyTypes"] != ["Ingress", "Egress"],
    }
    return [complaint for complaint, is_so in wrong.items() if is_so]


def claim_of(pod: Json, name: str) -> str | None:
    """Return the claim of a volume that a pod has."""
    claims = {each["name"]: each["persistentVolumeClaim"]["claimName"] for each in pod["volumes"]}
    return claims.get(name)


def test_the_example_is_right():
    assert [*by_schema(documents()), *beyond_the_schema(documents())] == []


def test_every_example_is_checked():
    assert list((ROOT / "examples").rglob("*.y*ml")) == [FOLDER / "cluster.yaml"]
    assert sorted(each["kind"] for each in documents()) == sorted(SCHEMAS)


def head(parts: list[Json]) -> Json:
    """Return the container of the head."""
    return pods(parts[0])[0]["containers"][0]


def worker(parts: list[Json]) -> Json:
    return pods(parts[0])[1]["containers"][0]


def misspell(entry: Json, name: str, wrong: str) -> None:
    entry[wrong] = entry.pop(name)


# What is changed, and how the complaint of the schema begins.
BY_SCHEMA: dict[str, tuple[Callable[[list[Json]], Any], str]] = {
    "a misspelt field of the cluster": (
        lambda parts: misspell(parts[0]["spec"], "authOptions", "authOption"),
        "RayCluster $.spec: Additional properties are not allowed ('authOption'",
    ),
    "a misspelt field deep inside": (
        lambda parts: misspell(worker(parts)["volumeMounts"][0], "readOnly", "readonly"),
        "RayCluster $.spec.workerGroupSpecs[0].template.spec.containers[0].volumeMounts[0]: Addit",
    ),
    "a field at the wrong place": (
        lambda parts: parts[0]["spec"].update(replicas=2),
        "RayCluster $.spec: Additional properties are not allowed ('replicas'",
    ),
    "a container without a name": (
        lambda parts: head(parts).pop("name"),
        "RayCluster $.spec.headGroupSpec.template.spec.containers[0]: 'name' is a required",
    ),
    "a group without a name": (
        lambda parts: parts[0]["spec"]["workerGroupSpecs"][0].pop("groupName"),
        "RayCluster $.spec.workerGroupSpecs[0]: 'groupName' is a required property",
    ),
    "a number for a text": (
        lambda parts: parts[0]["spec"]["headGroupSpec"]["rayStartParams"].update({"num-cpus": 0}),
        "RayCluster $.spec.headGroupSpec.rayStartParams['num-cpus']: 0 is not of type 'string'",
    ),
    "a truth value for a text": (
        lambda parts: worker(parts)["env"][0].update(value=False),
        "RayCluster $.spec.workerGroupSpecs[0].template.spec.containers[0].env[0].value: False is",
    ),
    "a text for a number": (
        lambda parts: parts[0]["spec"]["workerGroupSpecs"][0].update(replicas="2"),
        "RayCluster $.spec.workerGroupSpecs[0].replicas: '2' is not of type 'integer'",
    ),
    "a number that is too large": (
        lambda parts: parts[0]["spec"]["workerGroupSpecs"][0].update(replicas=2**31),
        "RayCluster $.spec.workerGroupSpecs[0].replicas: 2147483648 is greater",
    ),
    "a quantity with a unit that does not exist": (
        lambda parts: worker(parts)["resources"]["limits"].update(memory="8GB"),
        "RayCluster $.spec.workerGroupSpecs[0].template.spec.containers[0].resources.limits.memor",
    ),
    "a quantity that is no text and no whole number": (
        lambda parts: worker(parts)["resources"]["limits"].update(cpu=0.5),
        "RayCluster $.spec.workerGroupSpecs[0].template.spec.containers[0].resources.limits.cpu:",
    ),
    "a mode that does not exist": (
        lambda parts: parts[0]["spec"]["authOptions"].update(mode="tokens"),
        "RayCluster $.spec.authOptions.mode: 'tokens' is not one of ['disabled', 'token']",
    ),
    "a variable twice": (
        lambda parts: head(parts)["env"].append(head(parts)["env"][0]),
        "RayCluster $.spec.headGroupSpec.template.spec.containers[0].env: ('RAY_USAGE_STATS_ENABL",
    ),
    "another version of the resource": (
        lambda parts: parts[0].update(apiVersion="ray.io/v2"),
        "RayCluster $.apiVersion: 'ray.io/v1' was expected",
    ),
    "a name that is none": (
        lambda parts: parts[0]["metadata"].update(name="Triptych"),
        "RayCluster $.metadata.name: 'Triptych' does not match",
    ),
    "a misspelt field of the claim": (
        lambda parts: misspell(parts[1]["spec"], "accessModes", "accessMode"),
        "PersistentVolumeClaim $.spec: Additional properties are not allowed ('accessMode'",
    ),
    "a misspelt field of the policy": (
        lambda parts: misspell(parts[2]["spec"]["egress"][1], "ports", "port"),
        "NetworkPolicy $.spec.egress[1]: Additional properties are not allowed ('port'",
    ),
}


@pytest.mark.parametrize("name", BY_SCHEMA)
def test_the_schema_finds_a_mistake(name: str):
    parts = documents()
    change, complaint = BY_SCHEMA[name]
    change(parts)
    assert any(each.startswith(complaint) for each in by_schema(parts)), [*by_schema(parts)]


BEYOND: dict[str, Callable[[list[Json]], Any]] = {
    "a container has no image": lambda parts: worker(parts).pop("image"),
    "an image has another version of Ray": (
        lambda parts: head(parts).update(image="registry.example.com/triptych:ray-2.59.0")
    ),
    "rayVersion is not the version that the project needs": (
        lambda parts: parts[0]["spec"].update(rayVersion="2.59.0")
    ),
    "no token is asked for": lambda parts: parts[0]["spec"].pop("authOptions"),
    "the head computes": (
        lambda parts: parts[0]["spec"]["headGroupSpec"]["rayStartParams"].pop("num-cpus")
    ),
    "usage reports are on": lambda parts: worker(parts)["env"].pop(0),
    "a report is sent that there are no reports": lambda parts: head(parts)["env"].pop(1),
    "the token is not KubeRay's": (
        lambda parts: head(parts)["env"].append({"name": "RAY_AUTH_MODE", "value": "disabled"})
    ),
    "Ray counts on more than is requested": (
        lambda parts: worker(parts)["resources"].update(requests={"cpu": "1"})
    ),
    "the data is not at the same path everywhere": (
        lambda parts: worker(parts)["volumeMounts"][0].update(mountPath="/mnt")
    ),
    "one node alone can mount the data": (
        lambda parts: parts[1]["spec"].update(accessModes=["ReadWriteOnce"])
    ),
    "others reach the cluster": lambda parts: parts[2]["spec"]["ingress"].append({}),
    "the cluster reaches others": lambda parts: parts[2]["spec"]["egress"].append({}),
    "the rules hold in one direction only": (
        lambda parts: parts[2]["spec"].update(policyTypes=["Ingress"])
    ),
}


@pytest.mark.parametrize("complaint", BEYOND)
def test_what_no_schema_can_tell_is_found(complaint: str):
    parts = documents()
    BEYOND[complaint](parts)
    assert beyond_the_schema(parts) == [complaint]
    assert [*by_schema(parts)] == []


def test_where_the_schema_is_from():
    assert FIXTURE["source"] == "https://github.com/ray-project/kuberay"
    assert FIXTURE["licence"].startswith("Apache-2.0")
    assert re.fullmatch("[0-9a-f]{64}", FIXTURE["sha256"])
    manifest = (FOLDER / "cluster.yaml").read_text(encoding="utf-8")
    assert f"For KubeRay {FIXTURE['version'].removeprefix('v')}." in manifest


def test_the_image_has_the_versions_that_the_project_needs():
    assert f"torch=={pinned('torch')}\n" in DOCKERFILE
    assert '[scale,torch]" "ray[default]"' in DOCKERFILE
    assert re.findall(r"https?://([^/\s]+)", DOCKERFILE) == ["download.pytorch.org"]


def test_the_page_names_what_is_there():
    parts = documents()
    assert f"?ref={FIXTURE['version']}" in PAGE
    assert f"--tag {head(parts)['image']} " in PAGE
    assert f"docker push {head(parts)['image']}\n" in PAGE
    name = parts[0]["metadata"]["name"]
    assert f"kubectl wait raycluster/{name} " in PAGE
    services = set(re.findall(r"svc/(\S+)", PAGE))
    assert services == {f"{name}-head-svc"}  # as KubeRay calls it
    for path in re.findall(r"\bexamples/[\w./]+\w", PAGE):
        assert (ROOT / path).is_file(), path


PART = {
    "type": "object",
    "description": "left out",
    "required": ["count", "most"],
    "properties": {
        "most": {"type": "integer", "default": 3},
        "count": {"type": "integer", "format": "int32", "minimum": 0},
        "names": {
            "type": "array",
            "items": {"type": "string"},
            "x-kubernetes-list-type": "set",
        },
        "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        "empty": {"type": "object"},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        "maybe": {"type": "string", "nullable": True},
        "port": {
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "x-kubernetes-int-or-string": True,
        },
    },
}


@pytest.mark.parametrize(
    ("value", "valid"),
    [
        ({"count": 1}, True),
        ({}, False),
        ({"count": -1}, False),
        ({"count": 2**31}, False),
        ({"count": True}, False),
        ({"count": 1, "other": 1}, False),
        ({"count": 1, "names": ["a", "b"]}, True),
        ({"count": 1, "names": ["a", "a"]}, False),
        ({"count": 1, "any": {"thing": [1]}}, True),
        ({"count": 1, "empty": {"thing": 1}}, False),
        ({"count": 1, "labels": {"thing": "1"}}, True),
        ({"count": 1, "labels": {"thing": 1}}, False),
        ({"count": 1, "maybe": None}, True),
        ({"count": 1, "port": 80}, True),
        ({"count": 1, "port": "http"}, True),
        ({"count": 1, "port": 80.5}, False),
    ],
)
def test_the_tool_closes_objects_and_keeps_what_a_value_may_be(value: Json, valid: bool):
    assert Validator(tool.json_schema(PART)).is_valid(value) is valid


def test_the_tool_loses_no_keyword_that_it_does_not_know():
    with pytest.raises(ValueError, match="unknown keywords of a schema: multipleOf"):
        tool.json_schema({"type": "object", "properties": {"a": {"multipleOf": 2}}})
