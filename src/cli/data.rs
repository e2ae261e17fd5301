//! `syfar data`: fetch, draw or look at pictures.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use burn::tensor::Device;

use crate::data::{
    Cifar, CifarConfig, Dataset, FashionMnistConfig, PartitionConfig, PartitionSummary, SyntheticConfig,
    contact_sheet, fetch_face_net, fetch_orl, write_cifar, write_fashion_mnist, write_idx, write_partition,
    write_synthetic_faces,
};
use crate::models::read_face_api;

#[derive(clap::Subcommand)]
pub(super) enum DataCommand {
    /// Fetch the AT&T (Olivetti) faces, 40 people with 10 pictures each, through pip.
    Orl {
        /// Folder to make.
        #[arg(long)]
        out: PathBuf,
        /// Decides who of a person's pictures is for training (6), validation (2) and test (2).
        #[arg(long, default_value_t = 0, value_parser = super::seeds())]
        seed: u64,
    },
    /// Draw faces, for work without a network.
    SyntheticFaces {
        /// Folder to make.
        #[arg(long)]
        out: PathBuf,
        /// Number of people.
        #[arg(long, default_value_t = SyntheticConfig::default().people)]
        people: usize,
        /// Pictures of each.
        #[arg(long, default_value_t = SyntheticConfig::default().images)]
        images: usize,
        /// Decides every line and colour.
        #[arg(long, default_value_t = SyntheticConfig::default().seed)]
        seed: u64,
    },
    /// Lay out a part of Fashion-MNIST, ten classes of clothes, as a data set.
    FashionMnist {
        /// Folder to make.
        #[arg(long)]
        out: PathBuf,
        /// Folder with the four IDX files; by default that of the Debian package dataset-fashion-mnist.
        #[arg(long)]
        from: Option<PathBuf>,
        /// Pictures of each class to train on; with those to validate on at most 6000.
        #[arg(long, default_value_t = FashionMnistConfig::default().train)]
        train: usize,
        /// Pictures of each class to validate on.
        #[arg(long, default_value_t = FashionMnistConfig::default().val)]
        val: usize,
        /// Pictures of each class to test on, at most 1000.
        #[arg(long, default_value_t = FashionMnistConfig::default().test)]
        test: usize,
        /// Decides which pictures.
        #[arg(long, default_value_t = 0, value_parser = super::seeds())]
        seed: u64,
    },
    /// Lay out MNIST or a relative, from its four IDX files, as a data set.
    Idx {
        /// Folder with train-images-idx3-ubyte and the other three files, plain or with .gz.
        #[arg(long)]
        from: PathBuf,
        #[command(flatten)]
        part: Part,
    },
    /// Lay out CIFAR-10, from its binary version, as a data set.
    #[command(name = "cifar10")]
    Cifar10 {
        /// cifar-10-binary.tar.gz, or the folder unpacked from it.
        #[arg(long)]
        from: PathBuf,
        #[command(flatten)]
        part: Part,
    },
    /// Lay out CIFAR-100 (fine classes), from its binary version, as a data set.
    #[command(name = "cifar100")]
    Cifar100 {
        /// cifar-100-binary.tar.gz, or the folder unpacked from it.
        #[arg(long)]
        from: PathBuf,
        #[command(flatten)]
        part: Part,
    },
    /// Divide a folder with one folder of pictures per class, such as LFW, into train, val and test.
    Split {
        /// The folder; it stays as it is.
        #[arg(long)]
        from: PathBuf,
        /// Data set to make: splits.csv and a link to the pictures.
        #[arg(long)]
        out: PathBuf,
        /// Leave out classes with fewer pictures.
        #[arg(long, default_value_t = PartitionConfig::default().min_images)]
        min_images: usize,
        /// Keep the classes with the most pictures, if there are more of them.
        #[arg(long)]
        max_classes: Option<usize>,
        /// Share of each class to validate on.
        #[arg(long, default_value_t = PartitionConfig::default().val)]
        val: f64,
        /// Share of each class to test on.
        #[arg(long, default_value_t = PartitionConfig::default().test)]
        test: f64,
        /// Decides which pictures.
        #[arg(long, default_value_t = 0, value_parser = super::seeds())]
        seed: u64,
    },
    /// Fetch a pretrained face recogniser, 150x150 pixels to an embedding of 128 numbers, through npm.
    FaceNet {
        /// Model directory to make.
        #[arg(long)]
        out: PathBuf,
    },
    /// Put the pictures of a data set on one sheet, as the model sees them.
    Sheet {
        /// Folder with train/, val/ and test/.
        data: PathBuf,
        /// PNG to write.
        #[arg(long)]
        out: PathBuf,
        /// Pictures in a row.
        #[arg(long, default_value_t = 12)]
        columns: usize,
        /// Most rows.
        #[arg(long, default_value_t = 12)]
        rows: usize,
        /// Side of a picture in pixels.
        #[arg(long, default_value_t = 64)]
        side: usize,
    },
}

/// How much of a set that has many pictures of each class.
#[derive(clap::Args)]
pub(super) struct Part {
    /// Folder to make.
    #[arg(long)]
    out: PathBuf,
    /// Pictures of each class to train on.
    #[arg(long, default_value_t = 400)]
    train: usize,
    /// Pictures of each class to validate on; they too are drawn from the training files.
    #[arg(long, default_value_t = 50)]
    val: usize,
    /// Pictures of each class to test on.
    #[arg(long, default_value_t = 100)]
    test: usize,
    /// Decides which pictures.
    #[arg(long, default_value_t = 0, value_parser = super::seeds())]
    seed: u64,
}

impl Part {
    fn write_cifar(self, which: Cifar, from: PathBuf) -> anyhow::Result<()> {
        let Self { out, train, val, test, seed } = self;
        let found = write_cifar(&out, &CifarConfig { which, from, train, val, test, seed })?;
        laid_out(&out, found);
        Ok(())
    }

    fn write_idx(self, from: PathBuf) -> anyhow::Result<()> {
        let Self { out, train, val, test, seed } = self;
        let found = write_idx(&out, &FashionMnistConfig { from, train, val, test, seed })?;
        laid_out(&out, found);
        Ok(())
    }
}

fn laid_out(out: &Path, [train, val, test]: [usize; 3]) {
    super::say(&format!(
        "{}: {train} pictures to train, {val} to validate and {test} to test on.",
        out.display()
    ));
}

fn split(from: &Path, out: &Path, config: &PartitionConfig) -> anyhow::Result<()> {
    let PartitionSummary { classes, left_out, pictures } = write_partition(from, out, config)?;
    let [train, val, test] = pictures;
    super::say(&format!(
        "{}: {classes} classes ({left_out} left out); {train} pictures to train, {val} to validate and {test} to test on.",
        out.display()
    ));
    Ok(())
}

pub(super) fn data(command: DataCommand) -> anyhow::Result<()> {
    match command {
        DataCommand::Orl { out, seed } => {
            let summary = fetch_orl(&out, seed)?;
            let verb = if summary.was_there { "was there" } else { "fetched" };
            super::say(&format!(
                "{}: the AT&T (Olivetti) faces, {verb}. {}",
                out.display(),
                counted(summary.people, summary.pictures)
            ));
        }
        DataCommand::SyntheticFaces { out, people, images, seed } => {
            let config = SyntheticConfig { people, images, seed, ..SyntheticConfig::default() };
            let summary = write_synthetic_faces(&out, &config)?;
            super::say(&format!(
                "{}: drawn faces with {} pairs of siblings. {}",
                out.display(),
                summary.siblings,
                counted(summary.people, summary.pictures)
            ));
        }
        DataCommand::FashionMnist { out, from, train, val, test, seed } => {
            let from = from.unwrap_or(FashionMnistConfig::default().from);
            let config = FashionMnistConfig { from, train, val, test, seed };
            let [train, val, test] = write_fashion_mnist(&out, &config)?;
            super::say(&format!(
                "{}: Fashion-MNIST, 10 classes; {train} pictures to train, {val} to validate and {test} to test on.",
                out.display()
            ));
        }
        DataCommand::Idx { from, part } => part.write_idx(from)?,
        DataCommand::Cifar10 { from, part } => part.write_cifar(Cifar::Ten, from)?,
        DataCommand::Cifar100 { from, part } => part.write_cifar(Cifar::Hundred, from)?,
        DataCommand::Split { from, out, min_images, max_classes, val, test, seed } => {
            split(&from, &out, &PartitionConfig { min_images, max_classes, val, test, seed })?;
        }
        DataCommand::FaceNet { out } => face_net(&out)?,
        DataCommand::Sheet { data, out, columns, rows, side } => {
            let sheet = contact_sheet(&Dataset::open(&data, side)?.train, columns, rows)?;
            let whole =
                || format!("cannot write {}: give the name of a .png in a folder that exists", out.display());
            sheet.save_with_format(&out, image::ImageFormat::Png).with_context(whole)?;
            super::say(&format!("{}: {} x {} pixels", out.display(), sheet.width(), sheet.height()));
        }
    }
    Ok(())
}

fn face_net(out: &Path) -> anyhow::Result<()> {
    fetch_face_net(out, |files, folder| -> anyhow::Result<()> {
        read_face_api(&files.manifest, &files.weights, &Device::default())?.save(folder)?;
        let licence = std::fs::copy(&files.licence, folder.join("LICENSE"));
        licence.with_context(|| format!("cannot write the licence into {}", folder.display()))?;
        Ok(())
    })?;
    super::say(&format!(
        "{}: the face recogniser of dlib in the form of @vladmandic/face-api 1.7.15 (MIT), an embedding of 128 numbers. \
         To put a head on it: syfar train --set model.from={} --set model.new_head=true",
        out.display(),
        out.display()
    ));
    Ok(())
}

fn counted(people: usize, [train, val, test]: [usize; 3]) -> String {
    format!("{people} people; {train} pictures to train, {val} to validate and {test} to test on.")
}
