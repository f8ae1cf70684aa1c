"""What SAM makes of the deployment's template: CloudFormation's own form of it, in FOLDER, for either kind of API. SAM says itself
what it does not take; nothing is asked of AWS.

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
    # Written out: the translator changes in place what aliases share.
    template = json.loads(json.dumps(yaml.safe_load(pathlib.Path("infra/template.yaml").read_text(encoding="utf-8"))))
    parameters = {name: one.get("Default") for name, one in template["Parameters"].items()} | {"ApiType": kind}
    for resource in template["Resources"].values():
        if resource["Type"] == "AWS::Serverless::Function":
            resource["Properties"]["CodeUri"] = "s3://packaged/bootstrap.zip"
    made = Translator({}, Parser(), boto_session=session).translate(sam_template=template, parameter_values=parameters)
    # The alias is what the gateway calls, and a version moves when a parameter does.
    for name, resource in made["Resources"].items():
        if resource["Type"] == "AWS::Lambda::Version":
            assert resource["Properties"]["Description"] == {"Ref": "Configuration"}, name
        if resource["Type"] == "AWS::Lambda::Function":
            assert f"{name}Aliaslive" in made["Resources"], name
            assert f"{name}DeploymentGroup" in made["Resources"], name
    (folder / f"{kind.lower()}.json").write_text(json.dumps(made, indent=1), encoding="utf-8")
