//! Writes the good inputs of every target into a folder of its own, for cargo-fuzz to begin with:
//! `cargo run --release -p opid-hostile --example seeds -- fuzz/corpus`.

use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(folder) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("give the folder to write into, such as fuzz/corpus");
        return ExitCode::FAILURE;
    };
    for target in opid_hostile::targets() {
        let folder = folder.join(target.name);
        let written = std::fs::create_dir_all(&folder).and_then(|()| {
            let mut seeds = (target.seeds)().into_iter().enumerate();
            seeds.try_for_each(|(number, seed)| std::fs::write(folder.join(format!("seed_{number}")), seed))
        });
        if let Err(error) = written {
            eprintln!("cannot write into {}: {error}", folder.display());
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
