//! What a real engine's weights are, where the campaign file alone does not say it.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use teebench_api::campaign::{EngineSettings, engine::LoadFormat};

use crate::store::{sha256_hex, sha256_of_file};

/// SHA-256 over the sorted paths and contents of a directory's files, in hex.
pub fn directory_sha256(dir: &Path) -> anyhow::Result<String> {
    let mut files = BTreeMap::new();
    collect(dir, dir, &mut files)?;
    let mut text = String::new();
    for (relative, path) in files {
        text.push_str(&format!("{}  {}\n", sha256_of_file(&path)?, relative.display()));
    }
    Ok(sha256_hex(text.as_bytes()))
}

fn collect(root: &Path, dir: &Path, files: &mut BTreeMap<PathBuf, PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(root, &path, files)?;
        } else {
            files.insert(path.strip_prefix(root).unwrap_or(&path).to_owned(), path);
        }
    }
    Ok(())
}

/// The words for `run.json`; none where weights are those of the repository and revision.
pub fn description(settings: &EngineSettings, directory_sha256: Option<&str>) -> Option<String> {
    let dummy = (settings.load_format == Some(LoadFormat::Dummy)).then(|| "dummy".to_owned());
    let directory = directory_sha256.map(|digest| format!("directory sha256:{digest}"));
    let words: Vec<String> = [dummy, directory].into_iter().flatten().collect();
    (!words.is_empty()).then(|| words.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directorys_digest_follows_its_names_and_contents() {
        let write = |files: &[(&str, &str)]| {
            let dir = tempfile::tempdir().unwrap();
            for (name, content) in files {
                let path = dir.path().join(name);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, content).unwrap();
            }
            directory_sha256(dir.path()).unwrap()
        };
        let base = write(&[("config.json", "{}"), ("part/a.safetensors", "1")]);

        assert_eq!(base, write(&[("part/a.safetensors", "1"), ("config.json", "{}")]));
        assert_ne!(base, write(&[("config.json", "{}"), ("part/a.safetensors", "2")]));
        assert_ne!(base, write(&[("config.json", "{}"), ("part/b.safetensors", "1")]));
    }

    #[test]
    fn made_up_weights_and_other_directories_are_said() {
        let dummy = EngineSettings { load_format: Some(LoadFormat::Dummy), ..EngineSettings::default() };

        assert_eq!(description(&EngineSettings::default(), None), None);
        assert_eq!(description(&dummy, Some("ab")).as_deref(), Some("dummy, directory sha256:ab"));
    }
}
