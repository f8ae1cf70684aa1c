"""Translates the deployment template to plain CloudFormation with SAM's translator, for both kinds of API, and writes the results
to FOLDER. SAM reports what it does not accept. Nothing is sent to AWS.

    python .ci/translate.py FOLDER     needs aws-sam-translator, PyYAML
"""

import json
import logging
import pathlib
import sys

import boto3
import yaml
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator

logging.disable(logging.CRITICAL)
folder = pathlib.Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
session = boto3.session.Session(region_name="eu-central-1")
for kind in ("HTTP", "REST"):
    # A deep copy: YAML aliases share objects, which the translator changes in place.
    template = json.loads(json.dumps(yaml.safe_load(pathlib.Path("infra/template.yaml").read_text(encoding="utf-8"))))
    parameters = {name: one.get("Default") for name, one in template["Parameters"].items()} | {"ApiType": kind}
    for resource in template["Resources"].values():
        if resource["Type"] == "AWS::Serverless::Function":
            resource["Properties"]["CodeUri"] = "s3://packaged/bootstrap.zip"
    translated = Translator({}, Parser(), boto_session=session).translate(sam_template=template, parameter_values=parameters)
    # The gateway calls the alias, and a changed parameter publishes a new version.
    for name, resource in translated["Resources"].items():
        if resource["Type"] == "AWS::Lambda::Version":
            assert resource["Properties"]["Description"] == {"Ref": "Configuration"}, name
        if resource["Type"] == "AWS::Lambda::Function":
            assert f"{name}Aliaslive" in translated["Resources"], name
            assert f"{name}DeploymentGroup" in translated["Resources"], name
    (folder / f"{kind.lower()}.json").write_text(json.dumps(translated, indent=1), encoding="utf-8")
