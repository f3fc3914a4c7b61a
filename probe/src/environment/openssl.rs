//! The version of OpenSSL that the machine's libraries carry.
//!
//! On confidential GPUs the driver encrypts every copy through this library, so its version moves the results. The
//! text in the library is read rather than a program run: the engine's image need not hold the `openssl` command.

use std::path::{Path, PathBuf};

use memchr::memmem;

/// The largest library that is read; today's are under 8 MiB.
const MAXIMUM_BYTES: u64 = 64 << 20;

/// The version's text, for instance `OpenSSL 3.0.2 15 Mar 2022`, of the first libcrypto in the folders.
///
/// # Errors
/// That no folder has one, or that its text is not found.
pub(super) fn version(folders: &[PathBuf]) -> Result<String, String> {
    let library =
        folders.iter().find_map(|folder| libcrypto(folder)).ok_or("no libcrypto.so in the library folders")?;
    let at = |what: &dyn std::fmt::Display| format!("{}: {what}", library.display());
    let size = std::fs::metadata(&library).map_err(|error| at(&error))?.len();
    if size > MAXIMUM_BYTES {
        return Err(at(&format!("{size} bytes are more than a libcrypto has")));
    }
    let bytes = std::fs::read(&library).map_err(|error| at(&error))?;
    version_text(&bytes).ok_or_else(|| at(&"holds no version"))
}

/// The newest `libcrypto.so.<n>` of a folder.
fn libcrypto(folder: &Path) -> Option<PathBuf> {
    let names = std::fs::read_dir(folder).ok()?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let newest = names.filter(|name| name.starts_with("libcrypto.so.")).max()?;
    Some(folder.join(newest))
}

fn version_text(bytes: &[u8]) -> Option<String> {
    const START: &[u8] = b"OpenSSL ";
    memmem::find_iter(bytes, START).find_map(|start| {
        let rest = &bytes[start..];
        let text = &rest[..rest.iter().take(64).position(|byte| *byte == 0)?];
        // `OpenSSL 3.0.2 15 Mar 2022`: other texts that begin alike have no number next and no year last.
        let text = std::str::from_utf8(text).ok()?;
        let words: Vec<&str> = text.split(' ').filter(|word| !word.is_empty()).collect();
        let is_version = matches!(words.as_slice(), [_, number, _, _, year]
            if number.starts_with(|first: char| first.is_ascii_digit()) && year.parse::<u16>().is_ok());
        is_version.then(|| text.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::three(b"x\0OpenSSL 3.0.17 1 Jul 2025\0y", Some("OpenSSL 3.0.17 1 Jul 2025"))]
    #[case::one(b"OpenSSL 1.1.1f  31 Mar 2020\0", Some("OpenSSL 1.1.1f  31 Mar 2020"))]
    #[case::other_texts_first(
        b"OpenSSL default\0OpenSSL PKCS\0OpenSSL 3.5.1 1 Jul 2025\0",
        Some("OpenSSL 3.5.1 1 Jul 2025")
    )]
    #[case::not_ended(b"OpenSSL 3.0.17 1 Jul 2025", None)]
    #[case::none(b"nothing here", None)]
    fn the_version_is_found_among_other_texts(#[case] bytes: &[u8], #[case] expected: Option<&str>) {
        assert_eq!(version_text(bytes).as_deref(), expected);
    }

    #[test]
    fn the_newest_library_of_the_first_folder_counts() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("libcrypto.so.1.1"), "OpenSSL 1.1.1f  31 Mar 2020\0").unwrap();
        std::fs::write(folder.path().join("libcrypto.so.3"), "OpenSSL 3.0.2 15 Mar 2022\0").unwrap();
        assert_eq!(version(&[folder.path().to_owned()]).unwrap(), "OpenSSL 3.0.2 15 Mar 2022");
        assert!(version(&[]).unwrap_err().contains("no libcrypto.so"));
    }
}
