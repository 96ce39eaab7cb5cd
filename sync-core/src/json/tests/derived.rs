//! Columns that are made of others, found in a list by their name, or cut out of a joined text.

use super::*;
use crate::ErrorKind;

fn one(stream: StreamSpec) -> RecordReader {
    reader(stream.key(["id"]))
}

fn refusal(reader: &RecordReader) -> String {
    let error = reader.check().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    error.to_string()
}

#[test]
fn a_joined_text_becomes_a_list_each_value_cleaned_by_itself() {
    let reader = one(StreamSpec::new("s").json("countries"))
        .split("countries", ",")
        .lower("countries")
        .null_if("countries", ["-", "N/A"])
        .map("countries", [("sa", "SAU"), ("ae", "ARE")], Some("other"));
    let page = read(
        &reader,
        r#"[{"id":1,"countries":" SA, ae,,-,x "}, {"id":2,"countries":"N/A"}, {"id":3,"countries":""},
            {"id":4,"countries":["Sa", null, "ae"]}, {"id":5}, {"id":6,"countries":"\"sa\""}]"#,
    );
    let lists = [r#"["SAU","ARE","other"]"#, "null", "[]", r#"["SAU","ARE"]"#, "null", r#"["other"]"#];
    assert_eq!(
        texts(&page),
        lists.iter().zip(1..).map(|(list, id)| [(*list).to_owned(), id.to_string()]).collect::<Vec<_>>()
    );
    let numbers = one(StreamSpec::new("s").json("ids")).split("ids", "|");
    let page = read(&numbers, r#"[{"id":1,"ids":"7|8 \"x\""},{"id":2,"ids":9},{"id":3,"ids":[1,{"a":2}]}]"#);
    assert_eq!(texts(&page), [[r#"["7","8 \"x\""]"#, "1"], [r#"["9"]"#, "2"]]);
    assert_eq!(reasons(&page), ["column \"ids\": nested data where a single value is declared"]);
}

#[test]
fn one_part_of_a_joined_text_is_read_as_the_kind_of_its_column() {
    let reader =
        one(StreamSpec::new("s").int("campaign").text("last")).column("campaign", "/key").part("campaign", ".", 0);
    let reader = reader.column("last", "/key").part("last", ".", 2).null_if("last", ["0"]);
    let page = read(
        &reader,
        r#"[{"id":1,"key":"5500. 1001 .ab"},{"id":2,"key":"6.7"},{"id":3,"key":"8.x.0"},{"id":4,"key":"x.y"},{"id":5,"key":["9","8","c"]}]"#,
    );
    assert_eq!(texts(&page), [["5500", "ab", "1"], ["6", "null", "2"], ["8", "null", "3"], ["9", "c", "5"]]);
    assert_eq!(reasons(&page), ["column \"campaign\": not an integer"]);
}

#[test]
fn a_value_is_looked_up_in_a_list_by_its_name_behind_the_places_to_choose_from() {
    let reader = one(StreamSpec::new("s").text("customer").int("points"))
        .first_of("customer", ["/customer"])
        .look_up("customer", "/parameters", ("/key", "cust"), "/value")
        .map("customer", [("new", "N")], None)
        .look_up("points", "/p/list", ("/n", "7"), "/v/0");
    let page = read(
        &reader,
        r#"[{"id":1,"parameters":[{"key":"x","value":"no"},{"key":"cust","value":"new"}]},
            {"id":2,"customer":"new","parameters":[{"key":"cust","value":"other"}],"p":{"list":[{"n":7,"v":[3]}]}},
            {"id":3,"parameters":[{"key":"cust","value":"other"}]}, {"id":4,"p":{"list":"none"}}]"#,
    );
    assert_eq!(texts(&page), [["N", "null", "1"], ["N", "3", "2"]]);
    let unlisted = "column \"customer\": a value that its map does not list, and no default is declared";
    let no_list = "column \"points\": no list, where a value is looked up by its name";
    assert_eq!(reasons(&page), [unlisted, no_list]);
}

#[test]
fn a_hash_stands_in_for_a_key_that_is_not_there() {
    let stream = StreamSpec::new("s").text("order").text("day").key(["order"]);
    let reader = reader(stream).first_of("order", ["/order"]).hash_of("order", ["/day", "/code", "{account}"]);
    let reader = reader.null_if("order", ["", "-"]).trim("order");
    let read = |body: &str, account: &str| {
        let given = [("account".to_owned(), account.to_owned())].into();
        reader.read_with(body.as_bytes(), &Envelope::body(), &given).unwrap()
    };
    let rows = r#"[{"order":"o1","day":"d"},{"order":"-","day":"d","code":" x "},{"day":"d","code":"x"},{"day":"d","code":"-"},{"day":"d"}]"#;
    let keys = |page: &crate::json::Page| texts(page).into_iter().map(|row| row[0].clone()).collect::<Vec<_>>();
    let here = keys(&read(rows, "a"));
    assert_eq!(here[0], "o1");
    assert_eq!(
        (here[1].len(), &here[1], &here[3]),
        (32, &here[2], &here[4]),
        "blanks and placeholders make no difference"
    );
    assert_ne!(here[1], here[3]);
    assert_ne!(keys(&read(rows, "b"))[1], here[1], "what is given with the read counts");
    let alone = reader.read(br#"[{"order":null,"x":1},{"day":"d"}]"#, &Envelope::body()).unwrap();
    assert_eq!(reasons(&alone), ["column \"order\": no value where one is required"], "nothing has no hash");
}

#[test]
fn a_whole_record_is_its_own_key_whatever_the_order_of_its_members() {
    let reader = reader(StreamSpec::new("s").text("print").int("n").key(["print"])).hash_of("print", [""]);
    let page = read(&reader, r#"[{"n":1,"m":[1,2]},{"m":[1, 2],"n":1},{"n":1,"m":[2,1]}]"#);
    let prints = texts(&page);
    assert_eq!(prints[0], prints[1]);
    assert_ne!(prints[0][0], prints[2][0]);
}

#[test]
fn a_rejected_record_has_the_key_that_is_made_of_it_and_is_read_again_alike() {
    let stream = StreamSpec::new("s").text("key").int("n").key(["key"]);
    let reader = reader(stream).hash_of("key", ["/day", "^/campaign"]).explode("/rows");
    let page = read(&reader, r#"[{"campaign":7,"rows":[{"day":"d","n":"x"},{"day":"e","n":2}]}]"#);
    let reject = &page.rejects[0];
    let mended = String::from_utf8(reject.body.to_vec()).unwrap().replace("\"x\"", "1");
    let rows = reader.record(mended.as_bytes()).unwrap();
    assert_eq!(reject.key, Some(crate::Key::of(rows.row(0), &[0])));
    assert_ne!(texts(&page)[0][0], rows.row(0).at(0).to_owned().to_string());
}

#[test]
fn what_cannot_be_made_is_refused_by_its_column_and_says_what_to_write() {
    let stream = || one(StreamSpec::new("s").text("t").json("j").int("n"));
    let cases = [
        (stream().split("t", ","), "column \"t\" (text): a list needs a JSON column"),
        (stream().part("j", ",", 0), "column \"j\" (JSON): one part of a list is no JSON"),
        (stream().split("j", ""), "column \"j\" (JSON): `split`"),
        (stream().trim("j"), "nothing can be trimmed"),
        (stream().hash_of("n", ["/a"]), "column \"n\": a hash is 32 hexadecimal digits: declare the column as text"),
        (stream().hash_of("t", ["a"]), "column \"t\": \"a\" is no JSON pointer"),
        (stream().hash_of("t", ["^/a"]), "nothing is exploded"),
        (stream().look_up("t", "list", ("/key", "x"), "/value"), "column \"t\": \"list\" is no JSON pointer"),
        (stream().look_up("t", "/list", ("key", "x"), "/value"), "column \"t\": \"key\" is no JSON pointer"),
        (stream().look_up("t", "/list", ("/key", "x"), "value"), "column \"t\": \"value\" is no JSON pointer"),
    ];
    for (reader, named) in cases {
        let told = refusal(&reader);
        assert!(told.contains(named), "{named} is not said: {told}");
    }
}
