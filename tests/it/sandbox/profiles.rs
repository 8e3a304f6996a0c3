//! Get a User Profile in the sandbox: by user id, by public name and as `me`, and what does not exist.

use outboxd::sandbox::Profile;
use serde_json::json;

use super::Bench;

#[tokio::test]
async fn a_profile_is_found_by_id_and_by_public_name() {
    let bench = Bench::start().await;
    let world = bench.sandbox.world();
    let profile = Profile { is_open_profile: Some(true), ..Profile::named("jane-doe", "Jane Doe") };
    world.set_profile("ACoA1", profile);
    for path in ["/v2/acc_1/users/ACoA1", "/v2/acc_1/users/jane-doe", "/v2/acc_1/users/Jane-Doe"] {
        let found = bench.fresh(path).await;
        assert_eq!((&found["object"], &found["id"]), (&json!("UserProfile"), &json!("ACoA1")), "{path}");
        assert_eq!(found["display_name"], "Jane Doe");
        let specifics = json!({"network_distance": "SECOND_DEGREE", "is_open_profile": true});
        assert_eq!(found["specifics"], specifics, "{path}");
    }
    world.connect_with("acc_1", "ACoA1");
    let distance = async |path: &str| bench.fresh(path).await["specifics"]["network_distance"].clone();
    assert_eq!(distance("/v2/acc_1/users/ACoA1").await, "FIRST_DEGREE");
    assert_eq!(distance("/v2/acc_2/users/ACoA1").await, "SECOND_DEGREE", "a connection of acc_1 alone");
    assert_eq!(distance("/v2/acc_1/users/me").await, "SELF");
    assert_eq!(distance("/v2/acc_1/users/ACoA9?with_sections=about").await, "SECOND_DEGREE");
    world.disconnect_from("acc_1", "ACoA1");
    assert_eq!(distance("/v2/acc_1/users/ACoA1").await, "SECOND_DEGREE");
}

#[tokio::test]
async fn what_names_no_profile_is_refused() {
    let bench = Bench::start().await;
    for (id, status, kind) in [
        ("not-a-name", 400, "provider/invalid_parameters"),
        ("jane-%F0%9F%9A%80", 400, "provider/invalid_parameters"),
        ("rene%CC%81", 400, "provider/invalid_parameters"),
        ("Ren%C3%A9", 400, "provider/invalid_parameters"),
        ("https%3A%2F%2Fwww.linkedin.com%2Fin%2Ffoo", 400, "provider/invalid_parameters"),
        ("a%20b", 400, "provider/invalid_parameters"),
        ("missing-1", 404, "provider/resource_not_found"),
    ] {
        let (found, body) = bench.get(&format!("/v2/acc_1/users/{id}")).await;
        assert_eq!((found.as_u16(), &body["type"]), (status, &json!(kind)), "{id}: {body}");
    }
}
