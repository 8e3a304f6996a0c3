#!/bin/sh
# Checks the manifest against the schemas of Kubernetes, with the Python package kubernetes-validate.
set -eu
cd "$(dirname "$0")/../.."
environment=${CARGO_TARGET_DIR:-target}/kubernetes-validate
[ -x "$environment/bin/python" ] || python3 -m venv "$environment"
"$environment/bin/pip" install --quiet 'kubernetes-validate==1.37.0'
"$environment/bin/python" - packaging/kubernetes/outboxd.yaml <<'PYTHON'
import sys
import yaml
import kubernetes_validate

with open(sys.argv[1]) as file:
    for document in yaml.safe_load_all(file):
        kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)
        print(document["kind"], document["metadata"]["name"], "is valid")
PYTHON
