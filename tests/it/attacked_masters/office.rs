//! A master on a real database: how it is opened, reached, killed, backed up and restored.

use super::*;

/// A master, its database, and whatever keeps it alive.
#[derive(Clone)]
pub(super) struct Office {
    pub(super) hub: Hub,
    pub(super) replica: Arc<dyn Replica>,
}

pub(super) enum At {
    Sqlite(tempfile::TempDir),
    Postgres(Database, Option<PostgresServer>),
    MariaDb(Database, Option<MariaDbServer>),
}

/// `ATTACKS_FLAW=no-idempotency` plants a flaw that must be found.
pub(super) fn hub<R: Replica + Clone + 'static>(replica: R) -> (Hub, Arc<dyn Replica>) {
    let hub = Hub::new(replica.clone(), clock());
    let hub = match std::env::var("ATTACKS_FLAW").as_deref() {
        Ok("no-idempotency") => hub.plant(Flaw::NoIdempotency),
        _ => hub,
    };
    (hub, Arc::new(replica))
}

impl At {
    pub(super) async fn open(&self) -> Office {
        let (hub, replica) = match self {
            Self::Sqlite(folder) => {
                hub(SqliteReplica::open(folder.path().join("m.db"), "master", tables(), clock()).await.unwrap())
            }
            Self::Postgres(it, _) => hub(PostgresReplica::open(&it.url(), "master", tables(), clock()).await.unwrap()),
            Self::MariaDb(it, _) => hub(MySqlReplica::open(&it.url(), "master", tables(), clock()).await.unwrap()),
        };
        Office { hub, replica }
    }

    pub(super) fn sqlite() -> Arc<Self> {
        let folder = tempfile::tempdir().unwrap();
        rusqlite::Connection::open(folder.path().join("m.db")).unwrap().execute_batch(DDL).unwrap();
        Arc::new(Self::Sqlite(folder))
    }

    pub(super) async fn postgres(killed: bool) -> Arc<Self> {
        let (database, server) = if killed {
            let server = PostgresServer::start(Durability::Full).await.unwrap();
            (server.database().await.unwrap(), Some(server))
        } else {
            (sync_test_servers::postgres().await.unwrap(), None)
        };
        database.client(DDL).await.unwrap();
        Arc::new(Self::Postgres(database, server))
    }

    pub(super) async fn mariadb(killed: bool) -> Arc<Self> {
        let (database, server) = if killed {
            let server = MariaDbServer::start(Durability::Full).await.unwrap();
            (server.database().await.unwrap(), Some(server))
        } else {
            (sync_test_servers::mariadb().await.unwrap(), None)
        };
        database.client(&format!("{DDL} COLLATE utf8mb4_nopad_bin")).await.unwrap();
        Arc::new(Self::MariaDb(database, server))
    }

    pub(super) async fn kill_and_restart(&self, down: Duration) {
        match self {
            Self::Postgres(_, Some(server)) => {
                server.kill().await.unwrap();
                tokio::time::sleep(down).await;
                server.restart().await.unwrap();
            }
            Self::MariaDb(_, Some(server)) => {
                server.kill().await.unwrap();
                tokio::time::sleep(down).await;
                server.restart().await.unwrap();
            }
            _ => panic!("nobody may kill it"),
        }
    }

    /// A plain connection of a host, which says whether it is known that the statement had its effect.
    pub(super) async fn host(&self, sql: &str) -> Option<()> {
        match self {
            Self::Sqlite(folder) => {
                let (file, sql) = (folder.path().join("m.db"), sql.to_owned());
                tokio::task::spawn_blocking(move || {
                    let host = rusqlite::Connection::open(file).ok()?;
                    host.busy_timeout(Duration::from_secs(20)).ok()?;
                    host.execute_batch(&sql).ok()
                })
                .await
                .unwrap()
            }
            Self::Postgres(it, _) => {
                let mut host = sqlx::PgConnection::connect(&it.url()).await.ok()?;
                host.execute(sqlx::AssertSqlSafe(sql.to_owned())).await.ok().map(drop)
            }
            Self::MariaDb(it, _) => {
                let mut host = sqlx::MySqlConnection::connect(&it.url()).await.ok()?;
                host.execute(sqlx::AssertSqlSafe(sql.to_owned())).await.ok().map(drop)
            }
        }
    }
}

impl Office {
    pub(super) fn direct(&self) -> (Hub, Access) {
        (self.hub.clone(), Access::everything())
    }

    pub(super) async fn entries(&self) -> Vec<Entry> {
        self.replica.sequence().await.unwrap();
        let (mut all, mut after) = (Vec::new(), 0);
        loop {
            let page = self.replica.look().await.unwrap().feed(after, 500).await.unwrap();
            let Some(last) = page.last() else { return all };
            after = last.seq;
            all.extend(page);
        }
    }

    pub(super) async fn rows(&self) -> BTreeMap<usize, Vec<Value>> {
        let mut look = self.replica.look().await.unwrap();
        let rows = look.scan(tables().get("products").unwrap(), None, 10_000).await.unwrap();
        rows.into_iter().map(|(_, _, row)| (number(&row).unwrap(), row)).collect()
    }

    /// Over HTTP, through a line that may lose the half of an answer.
    pub(super) async fn http(&self, cuts: Arc<AtomicU64>) -> HttpMaster {
        let routes = Routes::new(self.hub.clone(), keys().unwrap(), cursor_key().unwrap());
        let router = routes.per_minute(NonZeroU32::MAX).strangers_per_minute(NonZeroU32::MAX).router().unwrap();
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = server.local_addr().unwrap();
        let service = router.into_make_service_with_connect_info::<SocketAddr>();
        tokio::spawn(async move { axum::serve(server, service).await });
        let line = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = line.local_addr().unwrap().port();
        tokio::spawn(async move {
            let mut many = 0;
            while let Ok((near, _)) = line.accept().await {
                many += 1;
                tokio::spawn(carry(near, to, Arc::clone(&cuts), many));
            }
        });
        HttpMaster::at(&format!("http://127.0.0.1:{port}"), &tables(), Login(1)).unwrap()
    }
}

pub(super) async fn carry(near: TcpStream, to: SocketAddr, cuts: Arc<AtomicU64>, seed: u64) {
    let Ok(far) = TcpStream::connect(to).await else { return };
    let ((mut near_read, mut near_write), (mut far_read, mut far_write)) = (near.into_split(), far.into_split());
    let mut random = Random::new(seed * 7919);
    let there = tokio::spawn(async move { tokio::io::copy(&mut near_read, &mut far_write).await });
    let mut piece = vec![0; 1 << 20];
    while let Ok(length @ 1..) = far_read.read(&mut piece).await {
        if random.below(100) < cuts.load(Ordering::SeqCst) {
            let _ = near_write.write_all(&piece[..random.below(length as u64) as usize]).await;
            break;
        }
        if near_write.write_all(&piece[..length]).await.is_err() {
            break;
        }
    }
    there.abort();
}

pub(super) fn run(command: &mut std::process::Command) -> Vec<u8> {
    let done = command.output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    done.stdout
}

impl At {
    pub(super) fn postgres_tool(&self, name: &str) -> std::process::Command {
        let Self::Postgres(it, _) = self else { panic!("no PostgreSQL") };
        let mut command = std::process::Command::new(sync_test_servers::postgres_program(name).unwrap());
        command.env("PGPASSWORD", it.password());
        command.args(["-h", it.host(), "-p", &it.port().to_string(), "-U", it.user()]);
        command
    }

    /// As an administrator does it: a copy of a SQLite file, a dump from PostgreSQL, the files of a MariaDB that is down.
    pub(super) async fn back_up(&self, folder: &Path) {
        match self {
            Self::Sqlite(it) => {
                let file = rusqlite::Connection::open(it.path().join("m.db")).unwrap();
                file.backup("main", folder.join("m.db"), None).unwrap();
            }
            Self::Postgres(it, _) => {
                std::fs::write(folder.join("dump"), run(self.postgres_tool("pg_dump").arg(it.name()))).unwrap();
            }
            Self::MariaDb(_, Some(server)) => {
                server.kill().await.unwrap();
                let _ = std::fs::remove_dir_all(folder.join("data"));
                run(std::process::Command::new("cp").arg("-a").args([server.dir().join("data"), folder.join("data")]));
                server.restart().await.unwrap();
            }
            _ => panic!("nobody may kill it"),
        }
    }

    /// What is there goes, and what was put aside comes. Nobody may have a SQLite file open any more.
    pub(super) async fn restore(&self, folder: &Path) {
        match self {
            Self::Sqlite(it) => {
                // Threads that are told to close it take a moment.
                tokio::time::sleep(Duration::from_millis(100)).await;
                for ending in ["-wal", "-shm"] {
                    let _ = std::fs::remove_file(it.path().join(format!("m.db{ending}")));
                }
                std::fs::copy(folder.join("m.db"), it.path().join("m.db")).unwrap();
            }
            Self::Postgres(it, _) => {
                let drop = format!("DROP DATABASE {} WITH (FORCE)", it.name());
                let create = format!("CREATE DATABASE {}", it.name());
                run(self.postgres_tool("psql").args(["-d", "postgres", "-c", &drop, "-c", &create]));
                let fill = ["-v", "ON_ERROR_STOP=1", "-q", "-d", it.name(), "-f"];
                run(self.postgres_tool("psql").args(fill).arg(folder.join("dump")));
            }
            Self::MariaDb(_, Some(server)) => {
                server.kill().await.unwrap();
                std::fs::remove_dir_all(server.dir().join("data")).unwrap();
                run(std::process::Command::new("cp").arg("-a").args([folder.join("data"), server.dir().join("data")]));
                server.restart().await.unwrap();
            }
            _ => panic!("nobody may kill it"),
        }
    }
}
