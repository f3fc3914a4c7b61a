//! The digest of a directory that a model is served from.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

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
}
