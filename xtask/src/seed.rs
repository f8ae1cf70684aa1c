//! Creates the demo users (`local/src/demo.json`) in an empty cloud, as in a real account: the function `operators` creates each
//! tenant's first user, who enrols, creates the others over HTTP, and is deleted.

use serde_json::{Value, json};
use tests::{Service, TestUser};

use crate::cloud::Cloud;

/// The demo tenants with their users.
#[must_use]
pub fn tenants() -> Vec<Value> {
    let demo: Value = serde_json::from_str(local::seed::DEMO).unwrap();
    demo["tenants"].as_array().unwrap().clone()
}

/// Creates all demo users. Each has the e-mail address `USERNAME@TENANT.example`.
pub async fn create_demo_users(cloud: &Cloud) {
    let service = Service::at(&cloud.url);
    for tenant in tenants() {
        let id = tenant["id"].as_str().unwrap();
        let created = create_tenant(cloud, id, &tenant["name"]).await;
        let password = created["password"].as_str().unwrap_or_else(|| panic!("{id}: {created}"));
        let mut first = TestUser::new(id, "first", password);
        service.enrol(&mut first).await;
        for user in tenant["users"].as_array().unwrap() {
            let mut user = user.clone();
            user.as_object_mut().unwrap().remove("id");
            user["auth_type"] = json!("local");
            user["email"] = json!(format!("{}@{id}.example", user["username"].as_str().unwrap()));
            service.post("/v1/admin/users", &first.session, user).await.ok();
        }
        service.delete(&format!("/v1/admin/users/{}", first.id), &first.session).await.ok();
    }
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
