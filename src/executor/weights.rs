//! What a real engine's weights are, where the campaign file alone does not say it.

use teebench_api::campaign::{EngineSettings, engine::LoadFormat};

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
    fn made_up_weights_and_other_directories_are_said() {
        let dummy = EngineSettings { load_format: Some(LoadFormat::Dummy), ..EngineSettings::default() };

        assert_eq!(description(&EngineSettings::default(), None), None);
        assert_eq!(description(&dummy, Some("ab")).as_deref(), Some("dummy, directory sha256:ab"));
    }
}
