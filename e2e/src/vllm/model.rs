//! What vLLM finds in a model's directory before it loads it.

use std::{fs, path::Path};

use serde::Deserialize;

/// The part of a model's `config.json` that bounds what may be asked of it.
#[derive(Deserialize, Debug)]
struct Config {
    max_position_embeddings: u64,
}

/// Checks that the model is there, and that it can be asked for as much as is wanted.
pub(super) fn check(
    directory: &Path,
    is_offline: bool,
    needs_weights: bool,
    max_model_len: Option<&str>,
) -> Result<(), String> {
    let shown = directory.display();
    if !directory.is_dir() {
        return Err(if is_offline {
            format!("LocalEntryNotFoundError: {shown} is no directory, and HF_HUB_OFFLINE=1 forbids to look on the hub")
        } else {
            format!("{shown}: no such directory; this stand-in downloads nothing")
        });
    }
    let config = directory.join("config.json");
    let text = fs::read(&config).map_err(|error| format!("OSError: {}: {error}", config.display()))?;
    let config: Config =
        serde_json::from_slice(&text).map_err(|error| format!("ValueError: {}: {error}", config.display()))?;
    if needs_weights && !has_weights(directory) {
        return Err(format!("RuntimeError: Cannot find any model weights with `{shown}`"));
    }
    let most = config.max_position_embeddings;
    match max_model_len.and_then(|length| length.parse::<u64>().ok()) {
        Some(length) if length > most => Err(format!(
            "ValueError: User-specified max_model_len ({length}) is greater than the derived max_model_len \
             (max_position_embeddings={most})"
        )),
        _ => Ok(()),
    }
}

fn has_weights(directory: &Path) -> bool {
    let is_weights = |path: &Path| {
        path.extension().is_some_and(|extension| extension == "safetensors")
            && fs::metadata(path).is_ok_and(|metadata| metadata.len() > 0)
    };
    fs::read_dir(directory).is_ok_and(|entries| entries.flatten().any(|entry| is_weights(&entry.path())))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::whole(true, Some("4096"), None)]
    #[case::longer_than_the_model(true, Some("8192"), Some("max_position_embeddings=4096"))]
    #[case::without_weights(false, None, Some("Cannot find any model weights"))]
    fn a_model_is_taken_when_it_is_whole_and_long_enough(
        #[case] with_weights: bool,
        #[case] max_model_len: Option<&str>,
        #[case] refusal: Option<&str>,
    ) {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("config.json"), r#"{"max_position_embeddings": 4096}"#).unwrap();
        if with_weights {
            fs::write(directory.path().join("model.safetensors"), "weights").unwrap();
        }

        let checked = check(directory.path(), true, true, max_model_len);

        match refusal {
            None => assert_eq!(checked, Ok(())),
            Some(words) => assert!(checked.as_ref().is_err_and(|said| said.contains(words)), "{checked:?}"),
        }
    }

    #[test]
    fn a_repositorys_name_is_no_directory_and_offline_it_is_not_looked_up() {
        let checked = check(Path::new("owner/name"), true, true, None);

        assert!(checked.as_ref().is_err_and(|said| said.contains("HF_HUB_OFFLINE=1")), "{checked:?}");
    }
}
