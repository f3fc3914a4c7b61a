//! Reading of binary layouts without trust: every part is asked for by name, and none beyond the end is read.

/// Bytes that end inside a part.
#[derive(thiserror::Error, Clone, Copy, Debug, PartialEq, Eq)]
#[error("ends inside its {0}")]
pub struct Truncated(pub &'static str);

/// Bytes that are not yet read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rest<'a>(pub(crate) &'a [u8]);

impl<'a> Rest<'a> {
    pub(crate) fn take(&mut self, count: usize, part: &'static str) -> Result<&'a [u8], Truncated> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Truncated(part))?;
        self.0 = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self, part: &'static str) -> Result<&'a [u8; N], Truncated> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(Truncated(part))?;
        self.0 = rest;
        Ok(taken)
    }

    pub(crate) fn u8(&mut self, part: &'static str) -> Result<u8, Truncated> {
        self.array::<1>(part).map(|[byte]| *byte)
    }

    pub(crate) fn u16_be(&mut self, part: &'static str) -> Result<u16, Truncated> {
        self.array(part).map(|bytes| u16::from_be_bytes(*bytes))
    }

    /// A length of two bytes, little endian.
    pub(crate) fn u16_le(&mut self, part: &'static str) -> Result<usize, Truncated> {
        self.array(part).map(|bytes| usize::from(u16::from_le_bytes(*bytes)))
    }

    pub(crate) fn u32_be(&mut self, part: &'static str) -> Result<u32, Truncated> {
        self.array(part).map(|bytes| u32::from_be_bytes(*bytes))
    }

    pub(crate) fn u32_le(&mut self, part: &'static str) -> Result<u32, Truncated> {
        self.array(part).map(|bytes| u32::from_le_bytes(*bytes))
    }

    /// Bytes behind their length, as a TPM writes them (TPM2B).
    pub(crate) fn sized(&mut self, part: &'static str) -> Result<&'a [u8], Truncated> {
        let size = self.u16_be(part)?;
        self.take(usize::from(size), part)
    }
}
