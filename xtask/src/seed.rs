//! Creates the demo users (`local/src/demo.json`) in an empty cloud, as in a real account: the function `operators` creates each
//! tenant's first user, who enrols, creates the others over HTTP, and is deleted.

use serde_json::{Value, json};
use tests::{Service, TestUser};

use crate::cloud::Cloud;

/// Operators besides the one of the demo, with the same password, for checks that need one who has not enrolled yet.
const FURTHER_OPERATORS: [&str; 2] = ["op-with", "op-without"];

/// The demo tenants with their users.
#[must_use]
pub fn tenants() -> Vec<Value> {
    let demo: Value = serde_json::from_str(local::seed::DEMO).unwrap();
    demo["tenants"].as_array().unwrap().clone()
}

/// Creates all demo users.
pub async fn create_demo_users(cloud: &Cloud) {
    for tenant in tenants() {
        create_users(cloud, tenant["id"].as_str().unwrap(), &tenant).await;
    }
}

/// Creates these tenants, each with the users of the demo tenant.
pub async fn create_demo_tenants(cloud: &Cloud, ids: &[String]) {
    let demo = tenants().into_iter().find(|tenant| tenant["id"] != "support").unwrap();
    for id in ids {
        create_users(cloud, id, &demo).await;
    }
}

/// Creates a tenant with the users of a demo tenant. Each has the e-mail address `USERNAME@TENANT.example`.
async fn create_users(cloud: &Cloud, id: &str, demo: &Value) {
    let service = Service::at(&cloud.url);
    let created = create_tenant(cloud, id, &demo["name"]).await;
    let password = created["password"].as_str().unwrap_or_else(|| panic!("{id}: {created}"));
    let mut first = TestUser::new(id, "first", password);
    service.enrol(&mut first).await;
    let mut users = demo["users"].as_array().unwrap().clone();
    if id == "support" {
        let further = FURTHER_OPERATORS.map(|name| {
            let mut operator = users[0].clone();
            operator["username"] = json!(name);
            operator
        });
        users.extend(further);
    }
    for mut user in users {
        user.as_object_mut().unwrap().remove("id");
        user["auth_type"] = json!("local");
        user["email"] = json!(format!("{}@{id}.example", user["username"].as_str().unwrap()));
        service.post("/v1/admin/users", &first.session, user).await.ok();
    }
    service.delete(&format!("/v1/admin/users/{}", first.id), &first.session).await.ok();
}

/// Creates a tenant with a first user, who is an operator in the tenant of the operators.
async fn create_tenant(cloud: &Cloud, id: &str, name: &Value) -> Value {
    let first = json!({"username": "first", "display_name": "First"});
    if id != "support" {
        return cloud.operators("create_tenant", json!({"id": id, "name": name, "administrator": first})).await;
    }
    let created = cloud.operators("create_operator", first.clone()).await;
    let again = cloud.operators("create_operator", first).await;
    assert_eq!(again["errorType"], "operator_exists", "{again}");
    created
}
