//! `syfar models`: what can be built.

use crate::models::{Architecture, Blueprint};
use crate::report::{Align, Table};

#[derive(clap::Args)]
pub(super) struct ModelsArguments {
    /// Number of classes.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(2..=1_000_000))]
    classes: u32,
    /// Side of the pictures; each architecture's usual one by default.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=4096))]
    side: Option<u32>,
}

pub(super) fn models(arguments: &ModelsArguments) {
    let mut table = Table::new([
        ("architecture", Align::Left),
        ("side", Align::Right),
        ("parameters", Align::Right),
        ("multiply-accumulates", Align::Right),
    ]);
    let classes = arguments.classes as usize;
    for architecture in Architecture::ALL {
        let side = arguments.side.map_or(architecture.usual_side(), |side| side as usize);
        let (least, multiple) = architecture.sides();
        let name = architecture.to_string();
        if architecture.check_side(side).is_err() {
            table.row([
                name,
                side.to_string(),
                "-".to_owned(),
                format!("takes multiples of {multiple} from {least}"),
            ]);
            continue;
        }
        let size = Blueprint::new(architecture, classes, side, [0.5; 3], [0.5; 3]).size();
        let (parameters, macs) = (size.parameters as f64 / 1e6, size.macs as f64 / 1e9);
        table.row([name, side.to_string(), format!("{parameters:.2} M"), format!("{macs:.3} G")]);
    }
    super::say(&format!(
        "{table}\nFor {classes} classes and one picture's way forward. Convolutions, linear layers and attention are counted. \
         preact_resnet18 is another name of resnet18."
    ));
}
