"""What Dagster's Helm chart accepts as values, as far as ours go: a JSON schema, and Kubernetes' own types.

Names and types are those of the chart's schema (``helm/dagster/schema`` in Dagster's repository), by which Helm judges
values after merging them with the chart's defaults; so nothing is required here that has a default. Types of Kubernetes
are those of its Python client, which are made from the specification of its interface.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dagster_k8s.models import k8s_snake_case_dict
from kubernetes import client

_TEXT, _NUMBER, _SWITCH = {"type": "string"}, {"type": "integer"}, {"type": "boolean"}
_MAPPING, _OBJECTS = {"type": "object"}, {"type": "array", "items": {"type": "object"}}
KUBERNETES = {
    "env": client.V1EnvVar,
    "envConfigMaps": client.V1ConfigMapEnvSource,
    "envSecrets": client.V1SecretEnvSource,
    "volumes": client.V1Volume,
    "volumeMounts": client.V1VolumeMount,
}
"""Lists of objects of Kubernetes that pods have, by the chart's names."""


def _object(properties: Mapping[str, Any], *required: str) -> dict[str, Any]:
    """Return the schema of an object without other properties."""
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


_IMAGE = _object(
    {
        "repository": _TEXT,
        "tag": {"type": ["string", "integer", "null"]},
        "pullPolicy": {"enum": ["Always", "IfNotPresent", "Never"]},
    }
)
_POD = {
    "image": _IMAGE,
    **dict.fromkeys(KUBERNETES, _OBJECTS),
    **dict.fromkeys(("labels", "annotations", "nodeSelector", "affinity", "resources"), _MAPPING),
    **dict.fromkeys(("podSecurityContext", "securityContext"), _MAPPING),
    **dict.fromkeys(("livenessProbe", "readinessProbe", "startupProbe"), _MAPPING),
    "tolerations": _OBJECTS,
    "schedulerName": _TEXT,
}
_SERVICE = _object({"type": _TEXT, "port": _NUMBER, "annotations": _MAPPING})
_CODE = {
    **_POD,
    "name": _TEXT,
    "port": _NUMBER,
    "dagsterApiGrpcArgs": {"type": "array", "items": _TEXT},
    "includeConfigInLaunchedRuns": _object({"enabled": _SWITCH}, "enabled"),
}
SCHEMA: dict[str, Any] = _object(
    {
        "dagsterWebserver": _object(
            {**_POD, "replicaCount": _NUMBER, "service": _SERVICE, "pathPrefix": _TEXT, "enableReadOnly": _SWITCH}
        ),
        "dagsterDaemon": _object({**_POD, "enabled": _SWITCH, "heartbeatTolerance": _NUMBER}),
        "dagster-user-deployments": _object(
            {
                "enabled": _SWITCH,
                "enableSubchart": _SWITCH,
                "deployments": {"type": "array", "items": _object(_CODE, "name", "image", "port")},
            }
        ),
        "postgresql": _object(
            {
                "enabled": _SWITCH,
                **dict.fromkeys(("postgresqlHost", "postgresqlUsername", "postgresqlPassword"), _TEXT),
                "postgresqlDatabase": _TEXT,
                "postgresqlParams": _MAPPING,
                "service": _object({"port": _NUMBER}),
            }
        ),
        "rabbitmq": _object({"enabled": _SWITCH}),
        "redis": _object({"enabled": _SWITCH, "internal": _SWITCH, "host": _TEXT, "port": _NUMBER}),
        "global": _object(dict.fromkeys(("serviceAccountName", "dagsterHome", "postgresqlSecretName"), _TEXT)),
        "serviceAccount": _object({"create": _SWITCH, "name": _TEXT, "annotations": _MAPPING}),
    }
)
"""Stricter than the chart, which ignores what it does not know outside of webserver and daemon."""


def pods_of(values: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the values of each pod."""
    yield values["dagsterWebserver"]
    yield values["dagsterDaemon"]
    yield from values["dagster-user-deployments"]["deployments"]


def misfits(pod: Mapping[str, Any]) -> list[str]:
    """Return what Kubernetes would refuse in a pod's values, empty if nothing."""
    found: list[str] = []
    for name, model in KUBERNETES.items():
        for entry in pod.get(name, []):
            try:
                model(**k8s_snake_case_dict(model, entry))
            # Unknown properties are an Exception, missing ones a ValueError, wrong types whatever reading them raises.
            except Exception as error:
                found.append(f"{name}: {error}")
    return found
