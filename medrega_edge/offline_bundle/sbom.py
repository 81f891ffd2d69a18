"""The bill of materials of a bundle, as CycloneDX 1.6: every wheel and the model, with hashes, licences and dependencies."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from typing import Any

from medrega_edge.offline_bundle.wheels import OURS, Wheel, needs_of
from medrega_edge.package.package import Package


def sbom(wheels: Sequence[Wheel], package: Package) -> dict[str, Any]:
    """Describe wheels and a package. The same ones give the same document."""
    components: dict[str, dict[str, Any]] = {}
    for wheel in wheels:
        component = components.setdefault(_reference(wheel), _library(wheel))
        component["hashes"].append(_hash(wheel.sha256))
    manifest = package.manifest
    model = f"{manifest.name}@{manifest.version}"
    components[model] = {
        "type": "machine-learning-model",
        "bom-ref": model,
        "name": manifest.name,
        "version": manifest.version,
        "hashes": [_hash(package.sha256)],
        "components": [
            {"type": "file", "name": entry.path, "hashes": [_hash(entry.sha256)]} for entry in manifest.files.values()
        ],
    }
    references = {wheel.name: _reference(wheel) for wheel in wheels}
    needs = {references[name]: sorted(references[need] for need in each) for name, each in needs_of(wheels).items()}
    needs[references[OURS]].append(model)
    listed = list(components.values())
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, json.dumps(listed))}",
        "version": 1,
        "metadata": {"component": components[references[OURS]] | {"type": "application", "bom-ref": OURS}},
        "components": listed,
        "dependencies": [{"ref": reference, "dependsOn": each} for reference, each in needs.items()],
    }


def _library(wheel: Wheel) -> dict[str, Any]:
    reference = _reference(wheel)
    component: dict[str, Any] = {
        "type": "library",
        "bom-ref": reference,
        "name": wheel.name,
        "version": wheel.version,
        "purl": reference,
    }
    if wheel.has_spdx_licence:
        component["licenses"] = [{"expression": wheel.licence}]
    elif wheel.licence:
        component["licenses"] = [{"license": {"name": wheel.licence}}]
    return component | {"hashes": []}


def _reference(wheel: Wheel) -> str:
    return f"pkg:pypi/{wheel.name}@{wheel.version}"


def _hash(sha256: str) -> dict[str, str]:
    return {"alg": "SHA-256", "content": sha256}
