//! The node's configuration file: every flag of `dsip node` by its long name.
//!
//! ```text
//!  flag  ►  environment variable  ►  file  ►  default
//! ```
//!
//! What the file says becomes the default of the flag, so a setting cannot exist in one of the three places alone, and is checked
//! by what checks the flag.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};
use dsip_endpoint::home::Home;
use serde::Serialize;
use toml::{Spanned, Value};

use crate::cli::mistake;
use crate::failure::Failure;

/// Flags for all commands that are settings of a node as well.
const SHARED: [&str; 3] = ["ca", "dht", "allow-private"];

/// Flags of the node that say where the file is, or what to do with it.
const NO_SETTINGS: [&str; 3] = ["config", "help", "version"];

/// The file in a node's home.
const FILE: &str = "node.toml";

/// One setting in effect.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Setting {
    /// The flag's long name.
    pub(super) name: String,
    /// What it is set to; nothing if it is not set.
    pub(super) values: Vec<String>,
    /// Whether it takes any number of values.
    #[serde(skip)]
    pub(super) is_list: bool,
    /// Where that comes from.
    pub(super) from: From,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum From {
    Flag,
    Environment,
    File,
    Default,
}

impl fmt::Display for From {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Flag => "flag",
            Self::Environment => "environment",
            Self::File => "file",
            Self::Default => "default",
        })
    }
}

/// The file to read: the one that `--config` names, or the one in the home if there is one.
pub(crate) fn file(matches: &ArgMatches, home: Option<&PathBuf>) -> Option<PathBuf> {
    if let Some(named) = matches.get_one::<PathBuf>("config") {
        return Some(named.clone());
    }
    let home = home.cloned().or_else(Home::default_dir)?;
    Some(home.join("node").join(FILE)).filter(|path| path.exists())
}

/// Makes what `file` says the defaults of the flags of `command`, which is the whole of `dsip`.
pub(crate) fn apply(mut command: Command, file: &Path) -> Result<Command, Failure> {
    let name = file.display();
    let text = std::fs::read_to_string(file).map_err(|error| {
        Failure::usage(&name, error, "give the path of a file that can be read, or leave out --config")
    })?;
    let entries: BTreeMap<Spanned<String>, Spanned<Value>> = toml::from_str(&text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        Failure::usage(place(file, &text, at), error.message(), "see docs/guide/operate.md for an example")
    })?;
    for (key, value) in entries {
        let at = place(file, &text, key.span().start);
        let key = key.into_inner();
        let Some(arg) = settings(&command).find(|arg| arg.get_long() == Some(&key)).cloned() else {
            return Err(Failure::usage(
                at,
                format!("{key:?} is no setting"),
                "`dsip node --help` names them, without the dashes",
            ));
        };
        let values = values(&arg, value.into_inner())
            .map_err(|(wrong, remedy)| Failure::usage(&at, format!("{key}: {wrong}"), remedy))?;
        if is_switch(&arg) {
            // A switch takes no value on the command line.
        } else if let Some(error) = values.iter().find_map(|value| refused(&command, &key, value)) {
            return Err(mistake(&error).at(format!("{at}: {key}")));
        }
        let id = arg.get_id().to_string();
        let set = |arg: Arg| arg.default_values(values.clone());
        command = match SHARED.contains(&key.as_str()) {
            true => command.mut_arg(&id, set),
            false => command.mut_subcommand("node", |node| node.mut_arg(&id, set)),
        };
    }
    Ok(command)
}

/// The settings in effect. `matches` is what `command` made of the command line, after [`apply`] if there was a file.
pub(crate) fn effective(plain: &Command, file: Option<&Command>, matches: &ArgMatches) -> Vec<Setting> {
    let node = matches.subcommand_matches("node");
    let in_file = |arg: &Arg| {
        let long = arg.get_long();
        let with = file.and_then(|file| settings(file).find(|other| other.get_long() == long).cloned());
        with.is_some_and(|with| with.get_default_values() != arg.get_default_values())
    };
    let all = settings(plain).filter_map(|arg| {
        let id = arg.get_id().as_str();
        let matches =
            [node, Some(matches)].into_iter().flatten().find(|matches| matches.try_contains_id(id).is_ok())?;
        let values: Vec<String> = match is_switch(arg) {
            true => vec![matches.get_flag(id).to_string()],
            false => matches.get_raw(id).into_iter().flatten().map(|it| it.to_string_lossy().into_owned()).collect(),
        };
        let from = match matches.value_source(id) {
            Some(ValueSource::CommandLine) => From::Flag,
            Some(ValueSource::EnvVariable) => From::Environment,
            _ if in_file(arg) => From::File,
            _ => From::Default,
        };
        let name = arg.get_long()?.to_owned();
        Some(Setting { name, values, is_list: matches!(arg.get_action(), ArgAction::Append), from })
    });
    all.collect()
}

/// The flags that are settings of a node.
fn settings(command: &Command) -> impl Iterator<Item = &Arg> {
    let long = |arg: &&Arg| arg.get_long().is_some();
    let own = command.find_subcommand("node").into_iter().flat_map(Command::get_arguments).filter(long);
    let own = own.filter(|arg| !arg.is_global_set() && !NO_SETTINGS.contains(&arg.get_long().unwrap_or_default()));
    let shared = command.get_arguments().filter(|arg| SHARED.contains(&arg.get_long().unwrap_or_default()));
    own.chain(shared)
}

fn is_switch(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::SetTrue)
}

/// What a file says, as a command line would.
fn values(arg: &Arg, value: Value) -> Result<Vec<OsString>, (&'static str, &'static str)> {
    let is_list = matches!(arg.get_action(), ArgAction::Append);
    match value {
        Value::Boolean(on) if is_switch(arg) => Ok(vec![on.to_string().into()]),
        _ if is_switch(arg) => Err(("not a switch's value", "write true or false")),
        Value::String(text) => Ok(vec![text.into()]),
        Value::Integer(number) => Ok(vec![number.to_string().into()]),
        Value::Array(items) if is_list => {
            let text = |item| match item {
                Value::String(text) => Ok(text.into()),
                _ => Err(("the list holds something that is not text", "write [\"one\", \"another\"]")),
            };
            items.into_iter().map(text).collect()
        }
        Value::Array(_) => Err(("takes one value, not a list", "write it without brackets")),
        _ => Err(("not a value that any setting takes", "write text in quotes, or a number")),
    }
}

/// What the flag itself would say to this value.
fn refused(command: &Command, key: &str, value: &OsString) -> Option<clap::Error> {
    let mut flag = OsString::from(format!("--{key}="));
    flag.push(value);
    command.clone().try_get_matches_from(["dsip".into(), "node".into(), flag]).err()
}

/// File and line, for people and for editors.
fn place(file: &Path, text: &str, at: usize) -> String {
    let line = text.bytes().take(at).filter(|octet| *octet == b'\n').count() + 1;
    format!("{}:{line}", file.display())
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, FromArgMatches as _};

    use super::*;
    use crate::cli::{self, Cli};

    /// What the file says, and what is wrong with it.
    fn read(text: &str) -> Result<Command, String> {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("n.toml");
        std::fs::write(&path, text).expect("written");
        let command = apply(Cli::command(), &path).map_err(|failure| failure.to_string())?;
        command.clone().debug_assert();
        Ok(command)
    }

    fn node(command: &Command, line: &[&str]) -> super::super::Args {
        let matches = command.clone().try_get_matches_from([&["dsip", "node"], line].concat()).expect("a command line");
        match Cli::from_arg_matches(&matches).expect("whole").command {
            cli::Command::Node(args) => *args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_flag_goes_before_the_file_and_the_file_before_the_default() {
        let file =
            read("listen = '127.0.0.1:1'\nhost = ['a.example', 'b.example']\nno-turn = true\nmax-connections = 7\n");
        let file = file.expect("a good file");
        let args = node(&file, &[]);
        assert_eq!(args.listen.to_string(), "127.0.0.1:1");
        assert_eq!(args.host, ["a.example", "b.example"]);
        assert!(args.no_turn);
        assert_eq!(args.max_connections, 7);
        let args = node(&file, &["--listen", "127.0.0.1:2", "--host", "c.example"]);
        assert_eq!(args.listen.to_string(), "127.0.0.1:2");
        assert_eq!(args.host, ["c.example"]);
    }

    #[test]
    fn what_is_in_effect_says_where_it_comes_from() {
        let plain = Cli::command();
        let file = read("listen = '127.0.0.1:1'\nca = ['a.pem']\n").expect("a good file");
        let matches = file.clone().try_get_matches_from(["dsip", "node", "--no-turn"]).expect("a command line");
        let all = effective(&plain, Some(&file), &matches);
        let of = |name: &str| {
            let setting = all.iter().find(|setting| setting.name == name).unwrap_or_else(|| panic!("no {name}"));
            (setting.values.join(" "), setting.from)
        };
        assert_eq!(of("listen"), ("127.0.0.1:1".into(), From::File));
        assert_eq!(of("ca"), ("a.pem".into(), From::File));
        assert_eq!(of("no-turn"), ("true".into(), From::Flag));
        assert_eq!(of("turn-ports"), ("49152-65535".into(), From::Default));
    }

    #[test]
    fn the_example_shows_every_setting_and_its_default() {
        let example = include_str!("../../../../deploy/node.toml");
        read(example).expect("it can be used as it is");
        let shown: String = example
            .lines()
            .map(|line| line.strip_prefix("# ").filter(|rest| rest.contains(" = ")).unwrap_or(line))
            .flat_map(|line| [line, "\n"])
            .collect();
        let all = read(&shown).expect("everything it shows can be used");
        let plain = Cli::command();
        let matches = all.clone().try_get_matches_from(["dsip", "node"]).expect("a command line");
        for setting in effective(&plain, Some(&all), &matches) {
            let line =
                example.lines().find(|line| line.trim_start_matches("# ").starts_with(&format!("{} = ", setting.name)));
            let line = line.unwrap_or_else(|| panic!("{} is not in the example", setting.name));
            // What is commented out and has a default is the default.
            let arg = settings(&plain).find(|arg| arg.get_long() == Some(&setting.name)).expect("a flag");
            let has_default = !arg.get_default_values().is_empty();
            assert!(!(line.starts_with("# ") && has_default && setting.from == From::File), "{line}: not the default");
        }
    }

    #[test]
    fn a_mistake_names_file_line_and_setting() {
        for (text, named) in [
            ("listen = '127.0.0.1:1'\nlisten-on = 'x'\n", &["n.toml:2", "listen-on", "no setting"][..]),
            ("\n\nlisten = 'somewhere'\n", &["n.toml:3", "listen", "somewhere"]),
            ("listen = true\n", &["n.toml:1", "listen"]),
            ("no-turn = 'yes'\n", &["n.toml:1", "no-turn", "true or false"]),
            ("listen = ['127.0.0.1:1']\n", &["n.toml:1", "listen", "brackets"]),
            ("listen = '127.0.0.1:1'\nlisten = '127.0.0.1:2'\n", &["n.toml:2"]),
            ("max-connections = -1\n", &["n.toml:1", "max-connections"]),
            ("host = 'a\n", &["n.toml:1"]),
            ("[relay]\nlisten = '127.0.0.1:1'\n", &["n.toml:1", "relay"]),
        ] {
            let said = read(text).expect_err(text);
            for part in named {
                assert!(said.contains(part), "{part:?} is not in {said:?}");
            }
            assert_eq!(said.lines().count(), 1, "{said}");
        }
    }
}
