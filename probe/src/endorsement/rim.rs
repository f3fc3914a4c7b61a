//! Reference manifests: which measurements a vendor expects of a driver or a VBIOS.
//!
//! A manifest is a SWID tag (ISO/IEC 19770-2) by TCG's reference integrity manifest model, with a measurement in each
//! `Resource` of its `Payload`:
//!
//! ```text
//! <SoftwareIdentity name="GH100" ...>
//!   <Meta colloquialVersion="96.00.9F.00.01" edition="GPU" product="GH100" .../>
//!   <Payload>
//!     <Resource type="Measurement" index="4" active="True" alternatives="2" size="48" n:Hash0="..." n:Hash1="..."/>
//! ```
//!
//! Index n is the measurement block n + 1 of a report, which SPDM counts from 1. Who vouches for the file is another
//! matter: its XML signature is not read, since its SHA-256 is pinned.

use std::collections::BTreeMap;

use roxmltree::{Document, Node, ParsingOptions};

use crate::attestation::Report;

/// The vendor's manifests have some 20 kilobytes.
const MOST_BYTES: usize = 1 << 20;
/// Elements and attributes of a manifest; more is no manifest.
const MOST_NODES: u32 = 1 << 14;
/// A report has a block for each of 255 indices at most, and the first is 1.
const MOST_INDEX: u8 = 254;
const MOST_ALTERNATIVES: usize = 64;
/// Namespace of the attributes that hold SHA-384 digests.
const SHA384: &str = "http://www.w3.org/2001/04/xmlenc#sha384";
/// The measurement that does not count where the GPU's video decoder is off.
const NVDEC0: u8 = 35;

/// A file that is no manifest.
#[derive(thiserror::Error, Clone, Debug, PartialEq, Eq)]
pub enum RimError {
    /// More bytes than any manifest has.
    #[error("{0} bytes, more than {MOST_BYTES}")]
    TooLong(usize),
    /// It is not XML.
    #[error("is not xml that can be read: {0}")]
    Xml(String),
    /// An element or attribute is missing.
    #[error("has no {0}")]
    Missing(&'static str),
    /// An attribute of a measurement cannot be read.
    #[error("measurement {index:?}: its {attribute} is not what a manifest has")]
    Measurement {
        /// The measurement's index, as written.
        index: String,
        /// The attribute.
        attribute: &'static str,
    },
    /// A measurement stands twice.
    #[error("measurement {0} stands in it twice")]
    Twice(u8),
    /// Nothing is expected.
    #[error("expects no measurement")]
    Empty,
}

/// What a manifest says of a driver or a VBIOS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rim {
    /// The version that it is for, as the driver writes it.
    pub version: String,
    /// Measurements that count, by their index from 0, each with the values that will do.
    pub expected: BTreeMap<u8, Vec<Vec<u8>>>,
}

impl Rim {
    /// Reads a manifest.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(bytes: &[u8]) -> Result<Self, RimError> {
        if bytes.len() > MOST_BYTES {
            return Err(RimError::TooLong(bytes.len()));
        }
        let text = std::str::from_utf8(bytes).map_err(|error| RimError::Xml(error.to_string()))?;
        let options = ParsingOptions { nodes_limit: MOST_NODES, ..ParsingOptions::default() };
        let document = Document::parse_with_options(text, options).map_err(|error| RimError::Xml(error.to_string()))?;
        let root = document.root_element();
        let version = child(root, "Meta")?.attribute("colloquialVersion").ok_or(RimError::Missing("version"))?;
        let mut expected = BTreeMap::new();
        let mut seen = BTreeMap::new();
        for resource in child(root, "Payload")?.children().filter(|node| node.tag_name().name() == "Resource") {
            let (index, active, values) = measurement(resource)?;
            if seen.insert(index, ()).is_some() {
                return Err(RimError::Twice(index));
            }
            if active {
                expected.insert(index, values);
            }
        }
        if expected.is_empty() {
            return Err(RimError::Empty);
        }
        Ok(Self { version: version.to_owned(), expected })
    }
}

fn child<'a, 'input>(of: Node<'a, 'input>, name: &'static str) -> Result<Node<'a, 'input>, RimError> {
    let mut named = of.children().filter(|node| node.tag_name().name() == name);
    match (named.next(), named.next()) {
        (Some(only), None) => Ok(only),
        _ => Err(RimError::Missing(name)),
    }
}

fn measurement(resource: Node<'_, '_>) -> Result<(u8, bool, Vec<Vec<u8>>), RimError> {
    let written = resource.attribute("index").unwrap_or_default();
    let wrong = |attribute| RimError::Measurement { index: written.to_owned(), attribute };
    let index = written.parse().ok().filter(|index| *index <= MOST_INDEX).ok_or_else(|| wrong("index"))?;
    let active = match resource.attribute("active") {
        Some("True") => true,
        Some("False") => false,
        _ => return Err(wrong("active")),
    };
    let number = |name: &'static str| resource.attribute(name).and_then(|text| text.parse::<usize>().ok());
    let alternatives = number("alternatives").filter(|count| (1..=MOST_ALTERNATIVES).contains(count));
    let alternatives = alternatives.ok_or_else(|| wrong("alternatives"))?;
    let size = number("size").ok_or_else(|| wrong("size"))?;
    let values = (0..alternatives).map(|number| {
        let digest = resource.attribute((SHA384, format!("Hash{number}").as_str()))?;
        hex::decode(digest).ok().filter(|digest| digest.len() == size)
    });
    let values: Option<Vec<Vec<u8>>> = values.collect();
    Ok((index, active, values.ok_or_else(|| wrong("hashes"))?))
}

/// Why a report does not have the measurements that are expected of it.
#[derive(thiserror::Error, Clone, Debug, PartialEq, Eq)]
pub enum Mismatch {
    /// No manifest is for the version.
    #[error("no reference manifest is for {what} {version}")]
    NoManifest {
        /// Driver or VBIOS.
        what: &'static str,
        /// The version in the report.
        version: String,
    },
    /// Two manifests expect something of one measurement.
    #[error("the manifests of driver and vbios both expect measurement {0}")]
    Conflict(u8),
    /// Measurements are not as expected.
    #[error("measurements {} are not those of the reference manifests", list(.0))]
    Differ(Vec<u8>),
}

fn list(indices: &[u8]) -> String {
    indices.iter().map(u8::to_string).collect::<Vec<_>>().join(", ")
}

/// Whether a verified report has the measurements that the manifests expect of its driver and its VBIOS; gives how many
/// were compared.
///
/// # Errors
/// Why not.
pub fn compare(report: &Report<'_>, driver: &str, vbios: &str, rims: &[Rim]) -> Result<usize, Mismatch> {
    let find = |what, version: &str| {
        let found = rims.iter().find(|rim| rim.version.eq_ignore_ascii_case(version));
        found.ok_or_else(|| Mismatch::NoManifest { what, version: version.to_owned() })
    };
    let (driver, vbios) = (find("driver", driver)?, find("vbios", vbios)?);
    if let Some(index) = driver.expected.keys().find(|index| vbios.expected.contains_key(index)) {
        return Err(Mismatch::Conflict(*index));
    }
    let counted = driver.expected.iter().chain(&vbios.expected);
    let counted: Vec<_> = counted.filter(|(index, _)| **index != NVDEC0 || report.nvdec0_counts()).collect();
    let mut differ: Vec<u8> = counted
        .iter()
        .filter(|(index, values)| {
            let measured = report.measurements().get(&(**index + 1));
            !measured.is_some_and(|measured| values.iter().any(|value| value == measured))
        })
        .map(|(index, _)| **index)
        .collect();
    differ.sort_unstable();
    if differ.is_empty() { Ok(counted.len()) } else { Err(Mismatch::Differ(differ)) }
}
