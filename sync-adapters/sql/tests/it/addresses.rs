//! Addresses that lead nowhere, or mean something else: said at once, with the place, and without the password.

use std::time::{Duration, Instant};

use sync_core::{Error, ErrorKind};
use sync_sql::{MySql, MySqlSource, Postgres, PostgresSource};

/// What all four say of an address without its scheme.
async fn refused(rest: &str) -> [Error; 4] {
    let (postgres, mysql) = (format!("postgres://{rest}"), format!("mysql://{rest}"));
    [
        Postgres::connect(&postgres).await.unwrap_err(),
        PostgresSource::connect(&postgres).await.unwrap_err(),
        MySql::connect(&mysql).await.unwrap_err(),
        MySqlSource::connect(&mysql).await.unwrap_err(),
    ]
}

#[tokio::test]
async fn a_port_where_nobody_listens_is_said_at_once() {
    let begun = Instant::now();
    for error in refused("sync:hunter2@127.0.0.1:9/shop").await {
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        let said = error.to_string();
        assert!(said.contains("refused") && said.contains("database: 127.0.0.1:9/shop"), "{said}");
        assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
    }
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn an_address_of_another_scheme_is_refused_with_the_form_it_should_have() {
    for url in ["mysql://sync:hunter2@127.0.0.1:9/shop", "http://127.0.0.1:9/shop"] {
        for error in [Postgres::connect(url).await.unwrap_err(), PostgresSource::connect(url).await.unwrap_err()] {
            assert_eq!(error.kind(), ErrorKind::Config, "{url}: {error}");
            assert!(error.to_string().contains("it should look like postgres://"), "{error}");
        }
    }
    for url in ["postgres://sync:hunter2@127.0.0.1:9/shop", "http://127.0.0.1:9/shop"] {
        for error in [MySql::connect(url).await.unwrap_err(), MySqlSource::connect(url).await.unwrap_err()] {
            assert_eq!(error.kind(), ErrorKind::Config, "{url}: {error}");
            assert!(error.to_string().contains("it should look like mysql://"), "{error}");
        }
    }
}

#[tokio::test]
async fn a_misspelt_parameter_is_refused_with_those_there_are() {
    for error in refused("sync:hunter2@127.0.0.1:9/shop?sslmod=verify-full").await {
        assert_eq!(error.kind(), ErrorKind::Config, "{error}");
        let said = error.to_string();
        assert!(said.contains("\"sslmod\"") && said.contains("sslmode, ssl-mode"), "{said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
}
