//! What the README shows of configuration is taken by those it is for. (Its Rust code is a documentation test.)

use sync_core::StreamSpec;
use sync_rest::Rest;

#[test]
fn the_description_of_an_api_in_the_readme_makes_a_source() {
    let readme = include_str!("../../README.md");
    let blocks = readme.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let described: Vec<&str> = blocks.filter(|block| block.contains("[streams.")).collect();
    assert_eq!(described.len(), 1, "one description of an API");
    let orders = StreamSpec::new("orders").key(["id"]).version("updated_at").decimal("total", 12, 2);
    let text = described[0].replace("env:SHOP_TOKEN", "env:PATH");
    Rest::from_toml(&text, [orders]).and_then(Rest::build).unwrap();
}
