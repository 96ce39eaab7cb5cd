//! Addresses that mean nothing, or nothing that was built in.

use sync_core::ErrorKind;
use sync_store_sql::SqlStore;

#[tokio::test]
async fn an_address_that_is_none_is_refused_with_the_forms_there_are_and_without_its_words() {
    for address in
        ["hunter2", "", "shop.db", "mssql://sa:hunter2@db/shop", "sa:hunter2@db:5432/shop", "postgres//hunter2"]
    {
        let error = SqlStore::connect(address).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{address}");
        let text = format!("{error} {error:?}");
        assert!(text.contains("sqlite:") && text.contains("postgres://") && text.contains("mysql://"), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[tokio::test]
async fn state_in_memory_is_refused_since_every_connection_would_have_its_own() {
    for address in ["sqlite::memory:", "sqlite://:memory:", "sqlite:state?mode=memory", "sqlite:"] {
        let error = SqlStore::connect(address).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{address}: {error}");
        assert!(error.to_string().contains("MemoryStore"), "{error}");
    }
}

#[cfg(feature = "mysql")]
#[tokio::test]
async fn an_address_without_the_name_of_a_database_is_refused_before_anything_is_asked() {
    for address in ["mysql://sync:hunter2@127.0.0.1:1", "mariadb://sync:hunter2@127.0.0.1:1/"] {
        let error = SqlStore::connect(address).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{error}");
        let said = error.to_string();
        assert!(said.contains("without the name of a database") && !said.contains("hunter2"), "{said}");
    }
}

#[tokio::test]
async fn a_misspelt_parameter_is_refused_with_those_there_are() {
    let addresses = [
        ("sqlite:state.db?mdoe=ro", "\"mdoe\"", "mode, cache"),
        #[cfg(feature = "postgres")]
        ("postgres://sync:hunter2@127.0.0.1:9/shop?sslmod=verify-full", "\"sslmod\"", "sslmode, ssl-mode"),
        #[cfg(feature = "mysql")]
        ("mysql://sync:hunter2@127.0.0.1:9/shop?sslmod=REQUIRED", "\"sslmod\"", "sslmode, ssl-mode"),
    ];
    for (address, misspelt, known) in addresses {
        let error = SqlStore::connect(address).await.unwrap_err();
        let said = error.to_string();
        assert_eq!(error.kind(), ErrorKind::Config, "{said}");
        assert!(said.contains(misspelt) && said.contains(known) && !said.contains("hunter2"), "{said}");
    }
}

#[cfg(not(all(feature = "postgres", feature = "mysql")))]
#[tokio::test]
async fn a_database_that_was_not_built_in_is_refused_with_the_feature_to_enable() {
    let addresses = [
        #[cfg(not(feature = "postgres"))]
        ("postgres://sync:hunter2@127.0.0.1:1/shop", "`postgres`"),
        #[cfg(not(feature = "mysql"))]
        ("mysql://sync:hunter2@127.0.0.1:1/shop", "`mysql`"),
        #[cfg(not(feature = "mysql"))]
        ("mariadb://sync:hunter2@127.0.0.1:1/shop", "`mysql`"),
    ];
    for (address, feature) in addresses {
        let error = SqlStore::connect(address).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains(feature), "{error}");
        assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
    }
}

#[cfg(all(feature = "postgres", feature = "mysql"))]
mod servers {
    use sync_core::ErrorKind;
    use sync_store_sql::SqlStore;
    use sync_test_servers::Database;

    async fn databases() -> [Database; 2] {
        [sync_test_servers::postgres().await.unwrap(), sync_test_servers::mariadb().await.unwrap()]
    }

    #[tokio::test]
    async fn a_wrong_password_is_unauthorized_and_in_no_error() {
        for database in databases().await {
            let url = database.url().replace(database.password(), "hunter2");
            let error = SqlStore::connect(&url).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unauthorized, "{error}");
            assert!(error.to_string().contains(database.name()), "the database is named: {error}");
            assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
        }
    }

    #[tokio::test]
    async fn a_port_where_nobody_listens_is_said_at_once() {
        let begun = std::time::Instant::now();
        for url in ["postgres://sync:hunter2@127.0.0.1:9/shop", "mysql://sync:hunter2@127.0.0.1:9/shop"] {
            let error = SqlStore::connect(url).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
            let said = error.to_string();
            assert!(said.contains("refused") && said.contains("127.0.0.1:9/shop"), "{said}");
        }
        assert!(begun.elapsed() < std::time::Duration::from_secs(5), "{:?}", begun.elapsed());
    }

    #[tokio::test]
    async fn a_database_that_does_not_exist_is_named() {
        for database in databases().await {
            let error = SqlStore::connect(&database.url().replace(database.name(), "nowhere")).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config, "{error}");
            assert!(error.to_string().contains("nowhere"), "{error}");
        }
    }

    #[tokio::test]
    async fn other_names_of_the_schemes_mean_the_same() {
        let [postgres, mariadb] = databases().await;
        SqlStore::connect(&postgres.url().replacen("postgres:", "postgresql:", 1)).await.unwrap();
        SqlStore::connect(&mariadb.url().replacen("mysql:", "mariadb:", 1)).await.unwrap();
    }

    #[tokio::test]
    async fn who_insists_on_encryption_is_not_let_in_without() {
        let [postgres, mariadb] = databases().await;
        for url in [format!("{}?sslmode=require", postgres.url()), format!("{}?ssl-mode=REQUIRED", mariadb.url())] {
            let error = SqlStore::connect(&url).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config, "{error}");
            assert!(error.to_string().contains("TLS"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_store_prints_its_place_and_no_password() {
        for database in databases().await {
            let store = SqlStore::connect(&database.url()).await.unwrap();
            let printed = format!("{store:?}");
            assert!(printed.contains(database.name()) && !printed.contains(database.password()), "{printed}");
        }
    }
}
