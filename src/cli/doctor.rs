//! `syfar doctor`.

use std::path::PathBuf;

use burn::tensor::Device;

use super::checks::{self, CheckSection};
use super::setting::{SettingArguments, complete};
use super::{Context, Failed, Usage};
use crate::checks::{Depth, Status};
use crate::data::Dataset;
use crate::models::Model;
use crate::run::write_file;

#[derive(clap::Args)]
pub(super) struct DoctorArguments {
    #[command(flatten)]
    setting: SettingArguments,
    /// Pictures of the sample.
    #[arg(long, default_value_t = 64)]
    images: usize,
    /// Make the cheap checks only.
    #[arg(long)]
    quick: bool,
    /// Write the checks as JSON to this file too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// What is examined unless somebody chooses an attack.
const ATTACK: [&str; 2] = ["attack.kind=pgd", "attack.steps=40"];

pub(super) fn doctor(arguments: &DoctorArguments, context: &Context) -> anyhow::Result<()> {
    if arguments.images == 0 {
        return Err(Usage("--images 0: expected at least 1 picture".to_owned()).into());
    }
    let config = arguments.setting.resolve(if arguments.setting.has_attack() { &[] } else { &ATTACK })?;
    complete(&config)?;
    let model = Model::load(&config.model, &Device::default())?;
    let data = Dataset::open(&config.data, model.config.preprocessing.framing())?;
    super::same_classes(&model.config.classes, &data.classes, &config.model)?;
    super::audit::check(&config, &model)?;
    let depth = if arguments.quick { Depth::Cheap } else { Depth::Full };
    let section = CheckSection { depth, images: arguments.images };
    let report = checks::run(&config, &section, &model, config.split.of(&data), context, &mut |_, _| ())?;
    if let Some(file) = &arguments.json {
        write_file(file, checks::json(&report)?.as_bytes())?;
    }
    super::say(&checks::table(&report));
    let failed: Vec<String> = report
        .checks
        .iter()
        .filter(|verdict| verdict.status == Status::Failed)
        .map(|verdict| verdict.id.to_string())
        .collect();
    if failed.is_empty() { Ok(()) } else { Err(Failed(format!("failed: {}", failed.join(", "))).into()) }
}
