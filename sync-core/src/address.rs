//! Addresses of databases, for all who take one: what is wrong with one is said before anything is asked of a server, and
//! without its words.

use crate::{Error, Result};

/// What an address may look like.
#[derive(Debug, Clone, Copy)]
pub struct Form {
    /// The whole of it, as a person writes it.
    pub looks: &'static str,
    /// What may stand before `://`.
    pub schemes: &'static [&'static str],
    /// The parameters that the driver reads. It passes over all others.
    pub parameters: &'static [&'static str],
}

/// Addresses of PostgreSQL. Some parameters are set by us, whatever they say.
pub const POSTGRES: Form = Form {
    looks: "postgres://user:password@host:port/database",
    schemes: &["postgres", "postgresql"],
    parameters: &[
        "sslmode",
        "ssl-mode",
        "sslrootcert",
        "ssl-root-cert",
        "ssl-ca",
        "sslcert",
        "ssl-cert",
        "sslkey",
        "ssl-key",
        "statement-cache-capacity",
        "host",
        "hostaddr",
        "port",
        "dbname",
        "user",
        "password",
        "application_name",
        "options",
        "options[…]",
    ],
};

/// Addresses of MySQL and MariaDB. Some parameters are set by us, whatever they say.
pub const MYSQL: Form = Form {
    looks: "mysql://user:password@host:port/database",
    schemes: &["mysql", "mariadb"],
    parameters: &[
        "sslmode",
        "ssl-mode",
        "sslca",
        "ssl-ca",
        "sslcert",
        "ssl-cert",
        "sslkey",
        "ssl-key",
        "statement-cache-capacity",
        "socket",
        "charset",
        "collation",
        "timezone",
        "time-zone",
    ],
};

/// Addresses of SQLite's files.
pub const SQLITE: Form =
    Form { looks: "sqlite:shop.db", schemes: &["sqlite"], parameters: &["mode", "cache", "immutable", "vfs"] };

impl Form {
    /// The error of an address that is none. It is not repeated: it may hold a password anywhere.
    pub fn unread(&self) -> Error {
        Error::config(format!("the address of the database cannot be read: it should look like {}", self.looks))
    }

    /// Refuses another kind of address, and parameters that would be passed over: a misspelt one may have been meant to
    /// keep the connection safe.
    ///
    /// # Errors
    /// `Config`, naming the parameter and those there are, or how an address should look.
    pub fn check(&self, url: &str) -> Result<()> {
        let scheme = url.split_once("://").map_or("", |(scheme, _)| scheme);
        if !self.schemes.iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
            return Err(self.unread());
        }
        self.check_parameters(url)
    }

    /// Refuses parameters that would be passed over, whatever the address begins with.
    ///
    /// # Errors
    /// `Config`, naming the parameter and those there are.
    pub fn check_parameters(&self, url: &str) -> Result<()> {
        let query = url.split('#').next().and_then(|url| url.split_once('?')).map_or("", |(_, query)| query);
        let pairs: Vec<(&str, Option<&str>)> = query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| pair.split_once('=').map_or((pair, None), |(name, value)| (name, Some(value))))
            .collect();
        // What does not look like parameters may be the rest of a password that has a question mark in it.
        let plain = |name: &str| name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.[]".contains(c));
        if !pairs.iter().all(|(name, value)| plain(&name.replace("%5B", "[").replace("%5D", "]")) && value.is_some()) {
            return Err(self.unread());
        }
        match pairs.iter().find(|(name, _)| !self.knows(name)) {
            Some((name, _)) => Err(Error::config(format!(
                "the address of the database has the parameter {name:?}, which is not known: there are {}",
                self.parameters.join(", ")
            ))),
            None => Ok(()),
        }
    }

    fn knows(&self, name: &str) -> bool {
        self.parameters.iter().any(|known| match known.strip_suffix("[…]") {
            Some(group) => name
                .strip_prefix(group)
                .is_some_and(|rest| rest.starts_with('[') || rest.to_ascii_uppercase().starts_with("%5B")),
            None => *known == name,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORM: Form = Form {
        looks: "postgres://user:password@host:port/database",
        schemes: &["postgres", "postgresql"],
        parameters: &["sslmode", "options[…]"],
    };

    #[test]
    fn known_parameters_are_taken() {
        for url in [
            "postgres://u:p@h:1/d",
            "PostgreSQL://u:p@h/d?sslmode=require",
            "postgres://u@h/d?sslmode=require&options[geqo]=off&options%5Bjit%5D=off",
            "postgres://u@h/d?",
        ] {
            FORM.check(url).unwrap();
        }
    }

    #[test]
    fn a_parameter_that_is_not_known_is_named_with_those_that_are() {
        let error = FORM.check("postgres://u:hunter2@h/d?sslmode=require&sslmod=verify-full").unwrap_err().to_string();
        assert!(error.contains("\"sslmod\"") && error.contains("sslmode, options[…]"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[test]
    fn another_scheme_is_refused_and_what_may_be_a_password_is_not_repeated() {
        for url in ["mysql://u:p@h/d", "http://h", "u:p@h/d", "postgres://u:1?hunter2@h/d", "postgres://u?hunter2&x@h"]
        {
            let error = FORM.check(url).unwrap_err().to_string();
            assert!(error.contains(FORM.looks) && !error.contains("hunter2"), "{error}");
        }
    }
}
