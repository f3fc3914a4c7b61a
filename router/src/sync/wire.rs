//! Numbers and texts of a frame: little-endian base-128 integers, and lengths that are checked before anything is
//! allocated on their word.

/// Why bytes are no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// More bytes than a frame may have.
    #[error("a frame has {0} bytes; send at most {max} in one", max = super::frame::MAXIMUM_FRAME_BYTES)]
    TooLarge(usize),
    /// Another format or version of it.
    #[error("this is no frame of version {version}; let all routers run the same version", version = super::frame::VERSION)]
    Version,
    /// The bytes end too early.
    #[error("the frame ends in the middle of its {0}")]
    CutOff(&'static str),
    /// A count or length that the bytes cannot hold, or a reference to nothing.
    #[error("the frame's {0} is out of bounds")]
    OutOfBounds(&'static str),
    /// Hashes of another width.
    #[error("the frame has hashes of {0} bits; give all routers the same policy")]
    HashBits(u8),
}

/// Appends `number` in groups of seven bits, the lowest first.
pub(super) fn put_number(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// Appends a signed number such that small ones take few bytes, below nothing or above.
pub(super) fn put_signed(bytes: &mut Vec<u8>, number: i64) {
    put_number(bytes, (number << 1 ^ number >> 63).cast_unsigned());
}

/// Appends the length of `text` and the text.
pub(super) fn put_text(bytes: &mut Vec<u8>, text: &str) {
    put_number(bytes, text.len() as u64);
    bytes.extend_from_slice(text.as_bytes());
}

/// Takes a frame apart from its start.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn bytes(&mut self, length: usize, what: &'static str) -> Result<&'a [u8], FrameError> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(FrameError::CutOff(what))?;
        self.rest = rest;
        Ok(taken)
    }

    pub(super) fn number(&mut self, what: &'static str) -> Result<u64, FrameError> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.bytes(1, what)?[0];
            let bits = u64::from(byte & 0x7f);
            number |= bits << shift;
            if bits << shift >> shift != bits {
                return Err(FrameError::OutOfBounds(what));
            }
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(FrameError::OutOfBounds(what))
    }

    pub(super) fn signed(&mut self, what: &'static str) -> Result<i64, FrameError> {
        let number = self.number(what)?;
        Ok((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
    }

    pub(super) fn number_32(&mut self, what: &'static str) -> Result<u32, FrameError> {
        u32::try_from(self.number(what)?).map_err(|_| FrameError::OutOfBounds(what))
    }

    /// The number of entries that follow, each of at least `least_bytes` bytes: never more than the bytes can hold.
    pub(super) fn count(&mut self, least_bytes: usize, what: &'static str) -> Result<usize, FrameError> {
        let count = self.number(what)?;
        let most = self.rest.len() / least_bytes;
        usize::try_from(count).ok().filter(|count| *count <= most).ok_or(FrameError::OutOfBounds(what))
    }

    pub(super) fn text(&mut self, what: &'static str) -> Result<String, FrameError> {
        let length = self.count(1, what)?;
        let text = str::from_utf8(self.bytes(length, what)?).map_err(|_| FrameError::OutOfBounds(what))?;
        Ok(text.to_owned())
    }

    /// A hash of `width` bytes, 1 to 8.
    pub(super) fn hash(&mut self, width: usize, what: &'static str) -> Result<u64, FrameError> {
        let mut hash = [0; 8];
        hash[..width].copy_from_slice(self.bytes(width, what)?);
        Ok(u64::from_le_bytes(hash))
    }
}
