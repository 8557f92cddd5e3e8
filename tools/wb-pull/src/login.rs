//! `wb-pull login` and `logout`: passwords into docker's config.json, where docker and podman find them too.

use std::io::{BufRead, IsTerminal, Read, Write};
use std::path::PathBuf;
use wb_doc::{Context, Error, ExitCode};
use wb_registry::credentials::{self, Credentials, Secret};
use wb_registry::{Access, Login};

/// What `login` is told.
#[derive(Debug, Clone, clap::Args)]
pub struct LoginArgs {
    /// The registry; docker.io if none is named
    #[arg(value_name = "HOST[:PORT]")]
    host: Option<String>,
    /// The user's name
    #[arg(short, long, value_name = "NAME")]
    username: Option<String>,
    /// The password; other users see it in the list of processes
    #[arg(short, long, value_name = "PASSWORD")]
    password: Option<String>,
    /// Read the password from standard input
    #[arg(long, conflicts_with = "password")]
    password_stdin: bool,
    #[command(flatten)]
    access: Access,
}

/// What `logout` is told.
#[derive(Debug, Clone, clap::Args)]
pub struct LogoutArgs {
    /// The registry; docker.io if none is named
    #[arg(value_name = "HOST[:PORT]")]
    host: Option<String>,
    /// The file the password is kept in
    #[arg(long, value_name = "FILE")]
    authfile: Option<PathBuf>,
}

/// Asks the registry whether it takes the password, and keeps it if so.
pub fn login(args: &LoginArgs) -> Result<ExitCode, Error> {
    let domain = domain(args.host.as_deref())?;
    let user = match &args.username {
        Some(user) => user.clone(),
        None => ask("Username: ", true)?,
    };
    if user.is_empty() || user.contains(':') {
        return Err(Error::usage(format!("user name {user:?}: empty, or with a colon")));
    }
    let password = match &args.password {
        Some(password) => password.clone(),
        None if args.password_stdin => {
            let mut text = String::new();
            std::io::stdin().take(64 << 10).read_to_string(&mut text).context(|| "standard input")?;
            text.trim_end_matches(['\r', '\n']).to_owned()
        }
        None => ask("Password: ", false)?,
    };
    if password.is_empty() {
        return Err(Error::usage("the password is empty"));
    }
    let secret = Secret::Password { user: user.clone(), password: password.clone() };
    let login = wb_registry::check_login(&domain, &args.access, Credentials::of(secret))?;
    let path = args.access.authfile.clone().unwrap_or_else(credentials::docker_config);
    let place = credentials::store(&path, &domain, &user, &password)?;
    let remark = if login == Login::NotNeeded { " (the registry asks for none)" } else { "" };
    writeln!(std::io::stdout(), "Login Succeeded: kept in {place}{remark}").context(|| "standard output")?;
    Ok(ExitCode::SUCCESS)
}

/// Forgets the password.
pub fn logout(args: &LogoutArgs) -> Result<ExitCode, Error> {
    let domain = domain(args.host.as_deref())?;
    let path = args.authfile.clone().unwrap_or_else(credentials::docker_config);
    let known = credentials::erase(&path, &domain)?;
    let text = if known { "Removed the login for" } else { "Not logged in to" };
    writeln!(std::io::stdout(), "{text} {domain}").context(|| "standard output")?;
    Ok(ExitCode::SUCCESS)
}

/// A registry's name, checked by the grammar of references; a URL, as docker allows, loses its scheme and path.
fn domain(text: Option<&str>) -> Result<String, Error> {
    let Some(text) = text else { return Ok("docker.io".into()) };
    let host = text.strip_prefix("https://").or(text.strip_prefix("http://")).unwrap_or(text);
    let host = host.split('/').next().unwrap_or_default();
    if matches!(host, "docker.io" | "index.docker.io" | "registry-1.docker.io") {
        return Ok("docker.io".into());
    }
    let dotted = if host.contains(['.', ':']) || host == "localhost" {
        host.to_owned()
    } else {
        format!("{host}:443")
    };
    let reference = wb_store::image::Reference::parse(&format!("{dotted}/x"))
        .map_err(|_| Error::usage(format!("registry {text:?}: HOST[:PORT] is wanted")))?;
    Ok(reference.domain)
}

fn ask(prompt: &str, echo: bool) -> Result<String, Error> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Err(Error::usage("standard input is no terminal to ask on")
            .hint("give --username and --password-stdin"));
    }
    let mut stderr = std::io::stderr();
    stderr.write_all(prompt.as_bytes()).context(|| "terminal")?;
    let hushed = if echo { None } else { Some(wb_sys::tty::Hushed::enter(&stdin).context(|| "terminal")?) };
    let mut line = String::new();
    let read = stdin.lock().take(4096).read_line(&mut line);
    if hushed.is_some() {
        stderr.write_all(b"\n").context(|| "terminal")?;
    }
    read.context(|| "terminal")?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries_as_people_type_them() {
        assert_eq!(domain(None).unwrap(), "docker.io");
        assert_eq!(domain(Some("https://index.docker.io/v1/")).unwrap(), "docker.io");
        assert_eq!(domain(Some("127.0.0.1:5000")).unwrap(), "127.0.0.1:5000");
        assert_eq!(domain(Some("quay.io/x")).unwrap(), "quay.io");
        for text in ["", "a b", "../x", "h:99999999", "-h.x"] {
            assert!(domain(Some(text)).is_err(), "{text:?}");
        }
    }
}
