//! Layout of a report: the request that the GPU was asked with, its answer (SPDM 1.1 MEASUREMENTS), and a signature over
//! both.
//!
//! ```text
//! 0   11 e0 01 ff                      request: version, GET_MEASUREMENTS, signature asked, all blocks
//! 4   nonce, 32 bytes; slot, 1 byte
//! 37  11 60 .. ..                      response: version, MEASUREMENTS, two parameters
//! 41  blocks, u8; record length, u24   little endian, as all lengths
//! 45  blocks: index u8, specification u8, size u16, then type u8, size u16, value
//!     responder's nonce, 32 bytes
//!     opaque length u16; fields: type u16, size u16, value
//!     r and s, 48 bytes each           ECDSA P-384 with SHA-384 over all that is before
//! ```

use std::collections::BTreeMap;

use crate::bytes::{Rest, Truncated};

/// NVML's buffer has this size; nothing longer comes from a GPU.
const MOST_BYTES: usize = 8192;
const REQUEST: [u8; 4] = [0x11, 0xe0, 0x01, 0xff];
const RESPONSE: [u8; 2] = [0x11, 0x60];
const SIGNATURE_BYTES: usize = 96;
/// The only measurement specification of SPDM 1.1: DMTF's.
const SPECIFICATION: u8 = 1;

const DRIVER_VERSION: u16 = 3;
const VBIOS_VERSION: u16 = 6;
const NVDEC0_STATUS: u16 = 11;
const FIRMWARE_ID: u16 = 20;

/// Status of a video decoder that is off, as the vendor's own verifier has it.
const NVDEC0_OFF: [u8; 1] = [0x55];

/// A text that is no report.
#[derive(thiserror::Error, Clone, Debug, PartialEq, Eq)]
pub enum ReportError {
    /// More bytes than a GPU gives.
    #[error("{0} bytes, more than {MOST_BYTES}")]
    TooLong(usize),
    /// It ends inside a part.
    #[error(transparent)]
    Truncated(#[from] Truncated),
    /// A part is not what it must be.
    #[error("its {0} is not what this version has")]
    Unexpected(&'static str),
    /// Bytes are left over.
    #[error("{0} bytes follow its signature")]
    Trailing(usize),
    /// A block or field stands twice.
    #[error("{part} {number} stands in it twice")]
    Twice {
        /// Block or field.
        part: &'static str,
        /// Its number.
        number: u16,
    },
    /// A field that is needed is not there.
    #[error("has no {0}")]
    Missing(&'static str),
}

/// A report's parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report<'a> {
    nonce: &'a [u8; 32],
    measurements: BTreeMap<u8, &'a [u8]>,
    fields: BTreeMap<u16, &'a [u8]>,
    signed: &'a [u8],
    signature: &'a [u8; SIGNATURE_BYTES],
}

impl<'a> Report<'a> {
    /// Takes a report apart; every byte must belong to a part.
    ///
    /// # Errors
    /// It is no report of this version.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ReportError> {
        if bytes.len() > MOST_BYTES {
            return Err(ReportError::TooLong(bytes.len()));
        }
        let mut rest = Rest(bytes);
        expect(rest.array("request")? == &REQUEST, "request")?;
        let nonce = rest.array("nonce")?;
        rest.take(1, "slot")?;
        expect(rest.array("response")? == &RESPONSE, "response")?;
        rest.take(2, "response")?;
        let [count] = *rest.array("number of blocks")?;
        let [low, middle, high] = *rest.array("record length")?;
        let record =
            rest.take(usize::from(low) | usize::from(middle) << 8 | usize::from(high) << 16, "measurements")?;
        let measurements = blocks(Rest(record), count)?;
        rest.take(32, "responder's nonce")?;
        let length = rest.u16_le("opaque length")?;
        let fields = fields(Rest(rest.take(length, "opaque fields")?))?;
        let signed = &bytes[..bytes.len() - rest.0.len()];
        let signature = rest.array("signature")?;
        match rest.0.len() {
            0 => Ok(Self { nonce, measurements, fields, signed, signature }),
            left => Err(ReportError::Trailing(left)),
        }
    }

    /// The nonce that the GPU was asked with.
    pub const fn nonce(&self) -> &'a [u8; 32] {
        self.nonce
    }

    /// Measurements by index.
    pub const fn measurements(&self) -> &BTreeMap<u8, &'a [u8]> {
        &self.measurements
    }

    /// What the signature is over.
    pub const fn signed(&self) -> &'a [u8] {
        self.signed
    }

    /// r and s, big endian.
    pub const fn signature(&self) -> &'a [u8; SIGNATURE_BYTES] {
        self.signature
    }

    /// The driver's version, as NVML writes it.
    ///
    /// # Errors
    /// The report has none.
    pub fn driver_version(&self) -> Result<String, ReportError> {
        let text = self.field(DRIVER_VERSION, "driver version")?;
        let end = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
        Ok(String::from_utf8_lossy(&text[..end]).into_owned())
    }

    /// The VBIOS's version, as NVML writes it: of the number that the bytes are in little endian, the lower half and
    /// then the last byte of the upper half.
    ///
    /// # Errors
    /// The report has none, or one of another length.
    pub fn vbios_version(&self) -> Result<String, ReportError> {
        let bytes: [u8; 8] = self
            .field(VBIOS_VERSION, "vbios version")?
            .try_into()
            .map_err(|_| ReportError::Unexpected("vbios version"))?;
        let [d, c, b, a, last, ..] = bytes;
        Ok(format!("{a:02X}.{b:02X}.{c:02X}.{d:02X}.{last:02X}"))
    }

    /// SHA-384 of the firmware that holds the signing key.
    ///
    /// # Errors
    /// The report has none, or one of another length.
    pub fn firmware_id(&self) -> Result<[u8; 48], ReportError> {
        let bytes = self.field(FIRMWARE_ID, "firmware id")?;
        bytes.try_into().map_err(|_| ReportError::Unexpected("firmware id"))
    }

    /// Whether the first video decoder is on, without which its measurement does not count.
    pub fn nvdec0_counts(&self) -> bool {
        self.fields.get(&NVDEC0_STATUS).is_none_or(|status| **status != NVDEC0_OFF)
    }

    fn field(&self, number: u16, name: &'static str) -> Result<&'a [u8], ReportError> {
        self.fields.get(&number).copied().ok_or(ReportError::Missing(name))
    }
}

fn blocks(mut record: Rest<'_>, count: u8) -> Result<BTreeMap<u8, &[u8]>, ReportError> {
    let mut found = BTreeMap::new();
    for _ in 0..count {
        let [index, specification] = *record.array("block")?;
        expect(specification == SPECIFICATION, "block's specification")?;
        let size = record.u16_le("block")?;
        let mut block = Rest(record.take(size, "block")?);
        block.take(1, "block's type")?;
        let size = block.u16_le("block's value")?;
        let value = block.take(size, "block's value")?;
        expect(block.0.is_empty(), "block's size")?;
        if found.insert(index, value).is_some() {
            return Err(ReportError::Twice { part: "block", number: u16::from(index) });
        }
    }
    expect(record.0.is_empty(), "record length")?;
    Ok(found)
}

fn fields(mut opaque: Rest<'_>) -> Result<BTreeMap<u16, &[u8]>, ReportError> {
    let mut found = BTreeMap::new();
    while !opaque.0.is_empty() {
        let number = u16::from_le_bytes(*opaque.array("field")?);
        let size = opaque.u16_le("field")?;
        let value = opaque.take(size, "field")?;
        if found.insert(number, value).is_some() {
            return Err(ReportError::Twice { part: "field", number });
        }
    }
    Ok(found)
}

fn expect(holds: bool, part: &'static str) -> Result<(), ReportError> {
    if holds { Ok(()) } else { Err(ReportError::Unexpected(part)) }
}
