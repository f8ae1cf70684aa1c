//! The gateways and cargo-lambda have the routes of the contract.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use tests::browser::PAGES;

use super::{contract, of_type, pascal, properties, read, shape, template, with_routes};

/// The integration of each path of an API. Checks the rest of its description.
fn routed(template: &Value, api: &str) -> BTreeMap<String, Value> {
    let body = &template["Resources"][api]["Properties"]["DefinitionBody"];
    assert_eq!(body["openapi"], "3.0.1", "both kinds of gateway read this version");
    let mut routes = BTreeMap::new();
    for (path, item) in body["paths"].as_object().unwrap() {
        let parameters = path.split(['{', '}']).skip(1).step_by(2).map(|name| name.trim_end_matches('+'));
        let parameters: Vec<_> = parameters
            .map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}))
            .collect();
        assert_eq!(item["parameters"].as_array().cloned().unwrap_or_default(), parameters, "{path}");
        // Any method: the function answers 405.
        let methods: Vec<_> = item.as_object().unwrap().keys().filter(|key| *key != "parameters").collect();
        assert_eq!(methods, ["x-amazon-apigateway-any-method"], "{path}");
        let operation = &item["x-amazon-apigateway-any-method"];
        assert_eq!(operation["responses"], json!({}));
        routes.insert(path.clone(), operation["x-amazon-apigateway-integration"].clone());
    }
    routes
}

/// The paths of the contract and of the pages, and the function of each.
fn contract_and_pages() -> BTreeMap<String, String> {
    let pages = PAGES.iter().map(|(path, function)| (shape(path), (*function).to_owned()));
    contract().into_iter().chain(pages).collect()
}

#[test]
fn every_path_is_routed_to_its_function_only() {
    let template = template();
    for api in ["HttpApi", "RestApi"] {
        let (mut routes, mut rest) = (BTreeMap::new(), BTreeMap::new());
        for (path, integration) in routed(&template, api) {
            assert_eq!((&integration["type"], &integration["httpMethod"]), (&json!("aws_proxy"), &json!("POST")));
            let form = json!({"Fn::FindInMap": ["Gateway", {"Ref": "ApiType"}, "Payload"]});
            assert_eq!(integration["payloadFormatVersion"], form);
            let uri = integration["uri"]["Fn::Sub"].as_str().unwrap();
            let function =
                uri.split_once("/functions/${").unwrap().1.strip_suffix("Function.Alias}/invocations").unwrap();
            let flow = with_routes().into_iter().find(|flow| pascal(flow) == function).unwrap();
            if path == "/" || path == "/{proxy+}" {
                rest.insert(path, flow)
            } else {
                routes.insert(shape(&path), flow)
            };
        }
        assert_eq!(routes, contract_and_pages(), "{api}");
        // One function has the start page, and answers 404.
        assert_eq!(rest.keys().collect::<Vec<_>>(), ["/", "/{proxy+}"], "{api}");
        assert_eq!(rest.values().collect::<BTreeSet<_>>().len(), 1, "{api}: {rest:?}");
    }
    let condition = |name: &str| template["Resources"][name]["Condition"].clone();
    assert_eq!((condition("HttpApi"), condition("RestApi")), (json!("Http"), json!("Rest")));
    assert_eq!(template["Mappings"]["Gateway"], json!({"HTTP": {"Payload": "2.0"}, "REST": {"Payload": "1.0"}}));
}

/// Only the gateway of this stack may invoke a flow, and it may not invoke a function without routes.
#[test]
fn only_the_configured_gateway_may_invoke_a_function() {
    let template = template();
    let gateway = json!({"Fn::Sub": [
        "arn:${AWS::Partition}:execute-api:${AWS::Region}:${AWS::AccountId}:${Id}/*",
        {"Id": {"Fn::If": ["Rest", {"Ref": "RestApi"}, {"Ref": "HttpApi"}]}},
    ]});
    let permissions = of_type(&template, "AWS::Lambda::Permission").into_iter();
    let permissions = permissions.map(|(_, one)| &one["Properties"]);
    let from_gateway: Vec<_> = permissions.filter(|one| one["Principal"] == "apigateway.amazonaws.com").collect();
    assert_eq!(from_gateway.len(), with_routes().len());
    for flow in with_routes() {
        let permission = properties(&template, &flow, "Permission");
        let expected = json!({
            "Action": "lambda:InvokeFunction", "FunctionName": {"Ref": pascal(&flow) + "Function.Alias"},
            "Principal": "apigateway.amazonaws.com", "SourceArn": gateway,
        });
        assert_eq!(permission, &expected, "{flow}");
    }
    for (name, permission) in of_type(&template, "AWS::Lambda::Permission") {
        let permission = &permission["Properties"];
        assert!(permission["Principal"].as_str().unwrap().ends_with(".amazonaws.com"), "{name}");
        assert!(!permission["SourceArn"].is_null(), "{name}: anyone may call it through the service");
    }
}

#[test]
fn cargo_lambda_watch_has_the_same_routes() {
    let manifest = read("Cargo.toml");
    let (_, router) = manifest.split_once("[workspace.metadata.lambda.watch.router]\n").unwrap();
    let lines = router.lines().take_while(|line| !line.starts_with('['));
    let routes = lines.filter_map(|line| line.split_once(" = "));
    let (routes, rest): (BTreeMap<_, _>, BTreeMap<_, _>) = routes
        .map(|(path, flow)| (path.trim_matches('"'), flow.trim_matches('"').to_owned()))
        .partition(|(path, _)| !["/", "/{*path}"].contains(path));
    let routes: BTreeMap<_, _> = routes.into_iter().map(|(path, flow)| (shape(path), flow)).collect();
    assert_eq!(routes, contract_and_pages());
    // Other paths get 404 from the same function as behind the gateways.
    let template = template();
    let paths = &template["Resources"]["HttpApi"]["Properties"]["DefinitionBody"]["paths"];
    let uri = &paths["/"]["x-amazon-apigateway-any-method"]["x-amazon-apigateway-integration"]["uri"]["Fn::Sub"];
    assert_eq!(rest.keys().copied().collect::<Vec<_>>(), ["/", "/{*path}"]);
    for flow in rest.values() {
        assert!(uri.as_str().unwrap().contains(&format!("${{{}Function.Alias}}", pascal(flow))), "{flow}: {uri}");
    }
}

/// The one that waits has the longer timeout.
#[test]
fn timeouts_grow_from_table_to_function_to_gateway() {
    let source = read("shared/src/store/dynamo.rs");
    let seconds = |before: &str| -> u64 {
        let (_, after) = source.split_once(before).unwrap();
        after.split_once("Duration::from_secs(").unwrap().1.split_once(')').unwrap().0.parse().unwrap()
    };
    // The longest silence of the table: a call's last attempt begins just before the time limit ends.
    let silence = seconds("const PATIENCE") + seconds(".operation_timeout(");
    assert_eq!(silence, 5);
    let template = template();
    for flow in with_routes() {
        let timeout = properties(&template, &flow, "Function")["Timeout"].as_u64().unwrap();
        // A request makes up to three calls: session, decision, and the audit row of a refusal.
        assert!(3 * silence < timeout && timeout < 29, "{flow}: {timeout}");
    }
    for integration in ["HttpApi", "RestApi"].into_iter().flat_map(|api| routed(&template, api).into_values()) {
        // The maximum of REST APIs.
        assert_eq!(integration["timeoutInMillis"], 29_000);
    }
}

/// A throttle limits cost, and keeps one client from using up the account's concurrency.
#[test]
fn both_gateways_have_a_throttle() {
    let template = template();
    let api = |name: &str| &template["Resources"][name]["Properties"];
    let throttle = json!({"ThrottlingBurstLimit": 500, "ThrottlingRateLimit": 1000});
    assert_eq!(api("HttpApi")["DefaultRouteSettings"], throttle);
    let mut rest = json!({"ResourcePath": "/*", "HttpMethod": "*", "LoggingLevel": "OFF", "DataTraceEnabled": false});
    rest.as_object_mut().unwrap().extend(throttle.as_object().unwrap().clone());
    assert_eq!(api("RestApi")["MethodSettings"], json!([rest]));
}

/// With a custom domain, the gateway's own address is disabled, and functions remove the base path.
#[test]
fn custom_domain_replaces_the_gateway_address() {
    let template = template();
    let resource = |name: &str| &template["Resources"][name];
    for api in ["HttpApi", "RestApi"] {
        let api = &resource(api)["Properties"];
        assert_eq!(api["DisableExecuteApiEndpoint"], json!({"Fn::If": ["OwnDomain", true, false]}));
        assert_eq!(api["FailOnWarnings"], false);
    }
    assert_eq!(template["Conditions"]["OwnDomain"], json!({"Fn::Not": [{"Fn::Equals": [{"Ref": "DomainName"}, ""]}]}));
    let conditions = ["Domain", "DomainMapping", "DomainRecord"].map(|name| resource(name)["Condition"].clone());
    assert_eq!(conditions, ["OwnDomain", "OwnDomain", "OwnRecord"]);
    let certificate = json!({"Ref": "CertificateArn"});
    let regional = json!([{"EndpointType": "REGIONAL", "SecurityPolicy": "TLS_1_2", "CertificateArn": certificate}]);
    let domain = json!({"DomainName": {"Ref": "DomainName"}, "DomainNameConfigurations": regional});
    assert_eq!(resource("Domain")["Properties"], domain);
    let mapping = json!({
        "DomainName": {"Ref": "Domain"},
        "ApiId": {"Fn::If": ["Rest", {"Ref": "RestApi"}, {"Ref": "HttpApi"}]},
        "Stage": {"Fn::If": ["Rest", {"Ref": "RestApi.Stage"}, {"Ref": "HttpApi.Stage"}]},
        "ApiMappingKey": {"Ref": "BasePath"},
    });
    assert_eq!(resource("DomainMapping")["Properties"], mapping);
    let to = |what: &str| json!({"Fn::GetAtt": ["Domain", what]});
    let record = json!({
        "HostedZoneId": {"Ref": "HostedZoneId"}, "Name": {"Ref": "DomainName"}, "Type": "A",
        "AliasTarget": {"DNSName": to("RegionalDomainName"), "HostedZoneId": to("RegionalHostedZoneId")},
    });
    assert_eq!(resource("DomainRecord")["Properties"], record);
}

/// Neither API Gateway nor cargo-lambda's emulator answers CORS requests.
#[test]
fn only_functions_answer_cors() {
    let template = template();
    for api in ["HttpApi", "RestApi"] {
        let api = &template["Resources"][api]["Properties"];
        for cors in ["CorsConfiguration", "Cors"] {
            assert!(api[cors].is_null());
        }
        assert!(!api["DefinitionBody"].to_string().contains("x-amazon-apigateway-cors"));
    }
    assert!(read("Cargo.toml").contains("[workspace.metadata.lambda.watch]\ndisable_cors = true\n"));
}
