//! Which model, pictures and attack a command is about, from arguments and a file.

use std::path::{Path, PathBuf};

use super::audit::{AttackKind, AuditRunConfig};
use super::config::{self, ConfigError};

#[derive(clap::Args)]
pub(super) struct SettingArguments {
    /// Model directory, such as runs/a/model.
    #[arg(long)]
    model: Option<PathBuf>,
    /// Folder with train/, val/ and test/.
    #[arg(long)]
    data: Option<PathBuf>,
    /// TOML file with the configuration of an audit.
    #[arg(long)]
    config: Option<PathBuf>,
    /// The attack, with its defaults; change them with --set attack.KEY=VALUE.
    #[arg(long, value_enum)]
    attack: Option<AttackKind>,
    /// Sets one key of the configuration, such as attack.steps=100.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Decides every random draw.
    #[arg(long, value_parser = super::seeds())]
    seed: Option<u64>,
}

impl SettingArguments {
    /// Whether somebody chose an attack.
    pub fn has_attack(&self) -> bool {
        let sets =
            |set: &String| set.trim_start().starts_with("attack.") || set.trim_start().starts_with("attack=");
        self.attack.is_some() || self.config.is_some() || self.set.iter().any(sets)
    }

    /// The configuration: defaults, then `before`, the file, the arguments.
    pub fn resolve(&self, before: &[&str]) -> Result<AuditRunConfig, ConfigError> {
        let mut set: Vec<String> = before.iter().map(|set| (*set).to_owned()).collect();
        if let Some(kind) = self.attack {
            set.push(format!("attack.kind={}", kind.name()));
        }
        set.extend(self.set.iter().cloned());
        let mut config: AuditRunConfig = config::load(self.config.as_deref(), &set)?;
        if let Some(model) = &self.model {
            config.model.clone_from(model);
        }
        if let Some(data) = &self.data {
            config.data.clone_from(data);
        }
        if let Some(seed) = self.seed {
            config.seed = seed;
        }
        Ok(config)
    }
}

/// Refuses a configuration without a model or without pictures.
pub(super) fn complete(config: &AuditRunConfig) -> Result<(), ConfigError> {
    both(&config.model, &config.data)
}

/// Refuses an empty path of a model or of pictures.
pub(super) fn both(model: &Path, data: &Path) -> Result<(), ConfigError> {
    for (key, path) in [("model", model), ("data", data)] {
        if path.as_os_str().is_empty() {
            let problem = format!("no {key}: give --{key} DIR, or `{key} = \"DIR\"` in the file");
            return Err(ConfigError::Value(problem));
        }
    }
    Ok(())
}
