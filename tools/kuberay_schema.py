"""The schema of KubeRay's RayCluster, for the test of examples/kuberay/cluster.yaml.

    python tools/kuberay_schema.py ray.io_rayclusters.yaml v1.7.0

reads the definition of the custom resource, which is ray-operator/config/crd/bases/ of that version
in https://github.com/ray-project/kuberay, and writes tests/examples/raycluster.json.gz: where it is
from, and its OpenAPI schema of the version ray.io/v1 as a JSON schema. Kubernetes drops fields that
it does not know, or refuses them (kubectl does); here they are mistakes, so every object is closed
unless the definition keeps unknown fields.
"""

import argparse
import gzip
import hashlib
import json
from pathlib import Path
from typing import Any

import yaml

Json = dict[str, Any]

ROOT = Path(__file__).resolve().parent.parent
FIXTURE = ROOT / "tests" / "examples" / "raycluster.json.gz"
VERSION = "v1"  # of the resource
KEEPS_UNKNOWN = "x-kubernetes-preserve-unknown-fields"
LIST_TYPE = "x-kubernetes-list-type"
# Entries of a list of the type map must differ in these fields. It is no keyword of JSON Schema.
LIST_KEYS = "x-kubernetes-list-map-keys"
# What JSON Schema calls by the same name.
KEPT = {
    "type",
    "enum",
    "pattern",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "anyOf",
}
# What it does not need. A field that is a number or a text has anyOf, too; the pattern of a
# quantity applies to texts only, as in JSON Schema.
LEFT_OUT = {
    "description",
    "default",
    "x-kubernetes-map-type",
    "x-kubernetes-validations",
    "x-kubernetes-int-or-string",
}
CONVERTED = {
    "properties",
    "required",
    "items",
    "additionalProperties",
    "format",
    "nullable",
    KEEPS_UNKNOWN,
    LIST_TYPE,
    LIST_KEYS,
}
BITS = {"int32": 32, "int64": 64}
# The definition leaves the metadata of the resource itself to Kubernetes.
TEXTS: Json = {"type": "object", "additionalProperties": {"type": "string"}}
NAME = {"type": "string", "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "maxLength": 63}
METADATA: Json = {
    "type": "object",
    "required": ["name"],
    "properties": {"name": NAME, "namespace": NAME, "labels": TEXTS, "annotations": TEXTS},
    "additionalProperties": False,
}


def json_schema(node: Json) -> Json:
    """Return a part of an OpenAPI schema of Kubernetes as a closed JSON schema.

    Parameters
    ----------
    node : dict
        The part.

    Raises
    ------
    ValueError
        If it has a keyword that is not known here, and would be lost.
    """
    unknown = node.keys() - KEPT - LEFT_OUT - CONVERTED
    if unknown:
        raise ValueError(f"unknown keywords of a schema: {', '.join(sorted(unknown))}")
    schema = {key: node[key] for key in node.keys() & KEPT}
    if node.get("format") in BITS:
        bound = 2 ** (BITS[node["format"]] - 1)
        schema = {"minimum": -bound, "maximum": bound - 1} | schema
    if node.get("nullable"):
        schema["type"] = [node["type"], "null"]
    if "items" in node:
        schema["items"] = json_schema(node["items"])
    if node.get(LIST_TYPE) == "set":
        schema["uniqueItems"] = True
    if node.get(LIST_TYPE) == "map":
        schema[LIST_KEYS] = node[LIST_KEYS]
    if node.get("type") == "object":
        schema |= _members(node)
    return schema


def _members(node: Json) -> Json:
    """Return which members an object may have."""
    properties = node.get("properties", {})
    members: Json = {
        "properties": {name: json_schema(each) for name, each in properties.items()},
        # Kubernetes fills in defaults before it looks.
        "required": [
            name for name in node.get("required", []) if "default" not in properties.get(name, {})
        ],
    }
    if not node.get(KEEPS_UNKNOWN):
        others = node.get("additionalProperties", False)
        closed = json_schema(others) if isinstance(others, dict) else others
        members["additionalProperties"] = closed
    return members


def schema_of(definition: Json) -> Json:
    """Return the schema of what a user writes: without the status, with the metadata.

    Parameters
    ----------
    definition : dict
        The definition of the custom resource.
    """
    (found,) = (each for each in definition["spec"]["versions"] if each["name"] == VERSION)
    schema = json_schema(found["schema"]["openAPIV3Schema"])
    names = definition["spec"]
    del schema["properties"]["status"]
    schema["properties"] |= {
        "apiVersion": {"const": f"{names['group']}/{VERSION}"},
        "kind": {"const": names["names"]["kind"]},
        "metadata": METADATA,
    }
    schema["required"] = ["apiVersion", "kind", "metadata", "spec"]
    return schema


def main() -> None:
    """Write the fixture of the test."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("definition", type=Path, help="ray.io_rayclusters.yaml")
    parser.add_argument("version", help="the version of KubeRay that it is from, such as v1.7.0")
    given = parser.parse_args()
    content = given.definition.read_bytes()
    fixture = {
        "source": "https://github.com/ray-project/kuberay",
        "file": "ray-operator/config/crd/bases/ray.io_rayclusters.yaml",
        "version": given.version,
        "sha256": hashlib.sha256(content).hexdigest(),
        "licence": "Apache-2.0, https://www.apache.org/licenses/LICENSE-2.0",
        "changes": "by tools/kuberay_schema.py: descriptions left out, objects closed",
        "schema": schema_of(yaml.safe_load(content)),
    }
    text = json.dumps(fixture, sort_keys=True, separators=(",", ":")) + "\n"
    FIXTURE.write_bytes(gzip.compress(text.encode(), mtime=0))
    print(f"wrote {FIXTURE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
